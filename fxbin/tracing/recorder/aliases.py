"""Modules that their parent holds under two names, told apart as the reference does.

NNCF replaces such a module under its first name only; under the others the parent keeps the old
object, with the same parameters. While tracing, an object with the same attributes stands there.
"""

from collections.abc import Iterable, Iterator

from torch import nn

from fxbin import torch_private
from fxbin.tracing.values.reference import REPLACED_CLASSES


def split_aliases(parents: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Put a stand-in under each further name of a module of `parents`; yields (stand-in, module)."""
    for parent in parents:
        seen: set[nn.Module] = set()
        for name, child in torch_private.modules(parent).items():
            if child is None or type(child) not in REPLACED_CLASSES:
                continue
            if child in seen:
                stand_in = object.__new__(type(child))
                stand_in.__dict__ = child.__dict__
                torch_private.modules(parent)[name] = stand_in
                yield stand_in, child
            seen.add(child)
