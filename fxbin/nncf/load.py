"""Loads a checkpoint of NNCF: `load_nncf_checkpoint`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.config import Params
from fxbin.errors import CheckpointError
from fxbin.graph.call_site import call_sites
from fxbin.nncf.content import Content, content_of
from fxbin.nncf.keys import (
    PADDING_VALUE,
    PRE_OP,
    Entry,
    bare_keys,
    canonical,
    entries,
    unlike_nncf,
    without_wrappers,
)
from fxbin.nncf.report import NNCFCheckpointReport

OF_OTHER_CALL = "differs from that of another call, with which it shares a binarizer here (`model.islands`)"


@dataclass
class Match:
    """The tensors of a file, matched with those of the model."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """The tensors to load, by fxbin's keys."""

    missing: list[str] = field(default_factory=list)
    """NNCF's keys of tensors that the file lacks."""

    unexpected: list[str] = field(default_factory=list)
    """Keys of the file that have no place in the model."""

    mismatched: dict[str, str] = field(default_factory=dict)
    """Text about the two shapes of each tensor whose shape does not fit, by key of the file."""

    wrong: list[str] = field(default_factory=list)
    """Sentences about tensors that would have another effect in fxbin."""


def load_nncf_checkpoint(
    model: nn.Module, source: str | Path | Mapping[str, Any], *, strict: bool = True
) -> NNCFCheckpointReport:
    """Load a binarization checkpoint of NNCF 2.x into a model that `transform` returned.

    Args:
        model: a model transformed with the config that NNCF had; on any device, in any stage.
        source: path of a file, or the content loaded from one: the file of NNCF's sample scripts, a bare
            state_dict, or a compression state. NNCF need not be installed, and no code in the file is run:
            anything but tensors, plain containers and NNCF's enum is refused by name.
        strict: whether a key that is missing or unexpected, or a tensor of another shape, is an error;
            otherwise these are left out, and the report lists them.

    Weights, learned scales and thresholds, and the enabled binarizers come from the state_dict; a compression
    state alone switches binarizers by its epoch and the config of `model`.

    Raises:
        CheckpointError: the checkpoint is unreadable, refused, or does not fit; the message lists all keys.
            Nothing has changed then.
        TransformError: `model` does not come from `transform`.
    """
    module = transformed(model, "load_nncf_checkpoint")
    if not isinstance(source, str | Path | Mapping):
        raise CheckpointError(
            "source: expected the path of a checkpoint or what was loaded from one, got "
            f"{type(source).__name__}"
        )
    if problems := unlike_nncf(module):
        raise CheckpointError("\n".join(["model: its binarizers are not those of NNCF:", *problems]))
    content = content_of(source)
    match = Match()
    if content.state_dict is not None:
        match = match_keys(module, content.state_dict)
        problems = _problems(match, module, strict=strict)
        if problems:
            raise CheckpointError("\n".join([f"checkpoint does not fit {type(model).__name__}:", *problems]))
        module.load_state_dict(match.tensors, strict=False)
    elif content.epoch is not None:
        _enable(module, content.epoch)
    return _report(module, content, match)


def match_keys(module: BinarizedModule, state_dict: Mapping[str, Tensor]) -> Match:
    """Find the place of each tensor of a file in the model."""
    match, own = Match(), module.state_dict()
    keys = canonical(state_dict)
    by_key = {entry.nncf: entry for entry in entries(module)}
    expected = {name: by_key[key] for name, key in bare_keys(by_key).items()}
    for name, entry in expected.items():
        if entry.own is None:
            continue
        if name not in keys:
            match.missing.append(entry.nncf)
            continue
        tensor, own_tensor = _fitting(state_dict[keys[name]], entry), own[entry.own]
        if tensor.shape != own_tensor.shape:
            match.mismatched[keys[name]] = f"is {tuple(tensor.shape)}, expected {tuple(own_tensor.shape)}"
        elif not torch.equal(tensor, match.tensors.get(entry.own, tensor)):
            match.wrong.append(f"{keys[name]}: {OF_OTHER_CALL}")
        else:
            match.tensors[entry.own] = tensor
    for name, key in keys.items():
        if name.endswith(f".{PADDING_VALUE}"):
            if torch.any(state_dict[key] != 0):
                match.wrong.append(f"{key}: is {state_dict[key].tolist()}, but fxbin pads with 0 only")
        elif name not in expected:
            match.unexpected.append(key)
    return match


def _fitting(tensor: Tensor, entry: Entry) -> Tensor:
    """`tensor` in the shape that fxbin has: NNCF's threshold repeats for each group of channels."""
    if entry.groups > 1 and tensor.dim() == 4:
        return tensor.repeat(1, entry.groups, 1, 1)
    return tensor


def _problems(match: Match, module: BinarizedModule, *, strict: bool) -> list[str]:
    problems = [f"  {text}" for text in match.wrong]
    if strict:
        problems += [f"  {key}: {text}" for key, text in match.mismatched.items()]
        problems += [f"  missing: {key}" for key in match.missing]
        problems += [f"  unexpected: {key}" for key in match.unexpected]
        problems += [f"  {hint}" for hint in _hints(match, module)]
    return problems


def _hints(match: Match, module: BinarizedModule) -> list[str]:
    """Sentences about why whole call sites are binarized only in the file, or only in the model."""
    missing, unexpected = _convs(match.missing), _convs(match.unexpected)
    if missing and not unexpected and not any(key.endswith("_binarizer.enabled") for key in match.tensors):
        return ["The file has no binarizers: load a full-precision model before `transform`."]
    hints = []
    if missing:
        hints.append(f"Binarized here and not in the file: {', '.join(missing)}. Put them in ignored_scopes.")
    infos = [site.info for site in call_sites(module, module.graph)]
    reasons = {info.owner: info.decision.reason for info in infos if info.decision}
    here = [(conv, reasons.get(without_wrappers(conv))) for conv in unexpected]
    hints += [f"Binarized in the file and not here: {conv} ({reason})." for conv, reason in here if reason]
    return hints


def _convs(keys: list[str]) -> list[str]:
    return list(dict.fromkeys(found["conv"] for key in keys if (found := PRE_OP.fullmatch(key))))


def _enable(module: BinarizedModule, epoch: int) -> None:
    """Switch binarizers as NNCF does when it restores its scheduler."""
    params = module.binarization.config.binarization.params
    module.binarization.enable(
        activations=max(epoch, 0) >= params.activations_quant_start_epoch,
        weights=max(epoch, 0) >= params.weights_quant_start_epoch,
    )


def _report(module: BinarizedModule, content: Content, match: Match) -> NNCFCheckpointReport:
    next_epoch = content.next_epoch
    if next_epoch is None and content.epoch is not None:
        next_epoch = content.epoch + 1
    rest = dict(content.rest)
    optimizer = rest.pop("optimizer", None)
    if match.mismatched:
        optimizer = None  # torch would take its tensors for any parameters, and fail in the first step
    params = module.binarization.config.binarization.params
    return NNCFCheckpointReport(
        stage=module.binarization.stage,
        loaded=len(match.tensors),
        epoch=content.epoch,
        step=content.step,
        next_epoch=next_epoch,
        optimizer=_with_base_values(optimizer, params) if isinstance(optimizer, Mapping) else None,
        missing=tuple(match.missing),
        unexpected=tuple(match.unexpected),
        mismatched=tuple(match.mismatched),
        notes=tuple(_notes(module, content, match)),
        rest=rest,
    )


def _with_base_values(optimizer: Mapping[str, Any], params: Params) -> dict[str, Any]:
    base = {"initial_lr": params.base_lr, "initial_weight_decay": params.base_wd}
    groups = [{**group, **base} for group in optimizer.get("param_groups", [])]
    return {**optimizer, "param_groups": groups}


def _notes(module: BinarizedModule, content: Content, match: Match) -> list[str]:
    notes = []
    if match.mismatched and "optimizer" in content.rest:
        notes.append("the optimizer's state is left out: it belongs to parameters with other shapes")
    sites = call_sites(module, module.graph)
    owners = [site.info.owner for site in sites if site.info.name in module.binarization.sites]
    twice = [owner for owner in dict.fromkeys(owners) if owners.count(owner) > 1]
    if twice and match.tensors:
        notes.append(
            f"{', '.join(twice)}: called more than once. NNCF ran the binarizers of all calls at each call, "
            "fxbin those of the call: outputs differ until the model is trained further"
        )
    return notes
