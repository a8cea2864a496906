"""Checks that a state_dict belongs to a transformed model before it is loaded."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from fxbin.binarized.state_difference import added_layers, state_difference
from fxbin.binarizers import Binarizer
from fxbin.errors import CheckpointError
from fxbin.errors.messages import listed

SWITCH = re.compile(r"(.*_binarizer(?:_\d+)?)\.enabled")
"""Key that every binarizer has in a state_dict; group 1 is the binarizer's name."""


def check_state_dict(model: nn.Module, state_dict: Mapping[str, Any], *, strict: bool) -> None:
    """Raise CheckpointError, which says what is wrong, if `state_dict` clearly does not belong to `model`.

    It recognizes states of another mode and, if `strict`, states that were saved before `transform`, with
    another config (other call sites, rewrites or parts of binarizers), from a wrapper, or only in part.
    Other problems are left to torch, which lists keys.
    """
    binarizers = {
        path: module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, Binarizer)
    }
    if strict:
        own = model.state_dict().keys()
        _check_names([*state_dict], own)
        _check_sites([*state_dict], own, binarizers, model)
    for path, binarizer in binarizers.items():
        binarizer.check_mode(state_dict, f"{path}.")


def _check_names(keys: list[str], own: Collection[str]) -> None:
    """Raise CheckpointError if none of `keys` is in `own`, the keys of the model."""
    if not (keys and own) or any(key in own for key in keys):
        return
    leads = {key.removesuffix(name) for key in keys for name in own if key.endswith(f".{name}")}
    lead = next((lead for lead in leads if all(key.startswith(lead) for key in keys)), None)
    hint = (
        f"They begin with {lead!r}: it was saved from a wrapper around the model. Remove the prefix: "
        f"{{key.removeprefix({lead!r}): value for key, value in state_dict.items()}}."
        if lead
        else "Pass the state_dict itself, if this is a checkpoint that contains one."
    )
    raise CheckpointError(
        f"state_dict: none of its {len(keys)} entries is one of this model: {listed(keys)}. {hint}"
    )


def _check_sites(
    keys: list[str], own: Collection[str], binarizers: Mapping[str, Binarizer], model: nn.Module
) -> None:
    """Raise CheckpointError if `keys` belong to a model with other binarizers, or with other layers."""
    there = {found[1] for key in keys if (found := SWITCH.fullmatch(key))}
    different = state_difference(model, keys, own, binarizers)
    if there == {*binarizers} and not different.texts:
        return
    saved, of_config = {*keys}, {*binarizers, *added_layers(model)}
    lacking = [name for name in own if name not in saved and not _is_in(name, of_config)]
    if lacking and there != {*binarizers}:
        raise CheckpointError(
            f"state_dict: it is incomplete, or belongs to another network: {len(lacking)} entries of layers "
            f"are missing, not only binarizers: {listed(lacking)}."
        )
    if not there:
        raise CheckpointError(
            "state_dict: it belongs to a model that was not transformed: it has no entries for the "
            f"{len(binarizers)} binarizers of this one. Load it into the model before fxbin.transform, or "
            "here with strict=False, which leaves the binarizers as they are."
        )
    parts = [
        f"{where}: {listed(sorted(names))}"
        for where, names in (
            ("it has binarizers that this model lacks", there - {*binarizers}),
            ("this model has binarizers that it lacks", {*binarizers} - there),
        )
        if names
    ]
    scopes = ["ignored_scopes and target_scopes"] if parts else []
    raise CheckpointError(
        f"state_dict: saved with another config. {'; '.join([*parts, *different.texts])}. Transform with the "
        f"config that it was saved with, in particular with its {', '.join([*scopes, *different.keys])}."
    )


def _is_in(name: str, layers: Collection[str]) -> bool:
    """Whether `name` is an entry of one of `layers`, or of a layer in one."""
    parents = name.split(".")[:-1]
    return any(".".join(parents[:count]) in layers for count in range(1, len(parents) + 1))
