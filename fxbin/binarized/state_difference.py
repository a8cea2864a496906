"""Tells from the keys of a state_dict that it was saved with other rewrites or other parts of binarizers."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from fxbin.added import AddedLayer
from fxbin.added.names import REWRITES
from fxbin.binarizers import Binarizer
from fxbin.binarizers.mode_key import MODE_KEY
from fxbin.errors.messages import listed

_ADDED = re.compile(rf"((?:(.*)\.)?({'|'.join(REWRITES)})(?:_\d+)?)\..+")
"""Key of an entry of an added layer; the groups are its path, what it is beside, and its name."""


@dataclass(frozen=True)
class StateDifference:
    """What only the state has, or only the model."""

    texts: tuple[str, ...]
    """Parts of a sentence about it; empty if there is no such difference."""

    keys: tuple[str, ...]
    """Keys of a config that decide about it: ``"rewrites"``."""


def state_difference(
    model: nn.Module, keys: Collection[str], own: Collection[str], binarizers: Mapping[str, Binarizer]
) -> StateDifference:
    """How `keys` differ from `own`, the keys of `model`, in layers that rewrites add and inside binarizers.

    Binarizers of which one side has nothing do not count.
    """
    added = added_layers(model)
    of_rewrites = [*_of_rewrites({*keys}, {*own}, added, binarizers)]
    entries = [*_of_binarizers({*keys}, {*own}, binarizers)]
    chosen = {"rewrites": of_rewrites, "activations and weights": entries}
    return StateDifference((*of_rewrites, *entries), tuple(key for key, found in chosen.items() if found))


def added_layers(model: nn.Module) -> set[str]:
    """Paths of the layers that rewrites have added to `model`."""
    layers = model.named_modules(remove_duplicate=False)
    return {path for path, layer in layers if isinstance(layer, AddedLayer)}


def _of_rewrites(
    keys: set[str], own: set[str], added: Collection[str], binarizers: Collection[str]
) -> Iterator[str]:
    beside = {path.rpartition(".")[0] for path in binarizers}
    there: dict[str, set[str]] = {}
    for key in keys - own:
        found = _ADDED.fullmatch(key)
        if found and (f"{found[2]}.weight" in own or (found[2] or "") in beside):
            there.setdefault(REWRITES[found[3]], set()).add(found[1])
    for rewrite, paths in sorted(there.items()):
        yield f'it has layers of the rewrite "{rewrite}" that this model lacks: {listed(sorted(paths))}'
    here: dict[str, set[str]] = {}
    for key in own - keys:
        found = _ADDED.fullmatch(key)
        if found and found[1] in added:
            here.setdefault(REWRITES[found[3]], set()).add(found[1])
    for rewrite, paths in sorted(here.items()):
        yield f'this model has layers of the rewrite "{rewrite}" that it lacks: {listed(sorted(paths))}'


def _of_binarizers(keys: set[str], own: set[str], binarizers: Collection[str]) -> Iterator[str]:
    def inside(names: set[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name in names:
            path, _, entry = name.rpartition(".")
            if path in binarizers and not entry.startswith(MODE_KEY):
                found.setdefault(path, set()).add(name)
        return found

    there, here = inside(keys), inside(own)
    both = there.keys() & here.keys()
    more = sorted(name for path in both for name in there[path] - here[path])
    fewer = sorted(name for path in both for name in here[path] - there[path])
    if more:
        yield f"it has parts of binarizers that this model lacks: {listed(more)}"
    if fewer:
        yield f"this model has parts of binarizers that it lacks: {listed(fewer)}"
