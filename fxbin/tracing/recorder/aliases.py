"""Splits modules that their parent holds under two names, because NNCF names their calls differently.

NNCF replaces such a module under its first name only; under the others the parent keeps the old object, with
the same parameters. During a trace, the other names hold a second object with the same attributes.
"""

from collections.abc import Iterable, Iterator

from torch import nn

from fxbin import torch_private
from fxbin.tracing.values.reference import REPLACED_CLASSES


def split_aliases(parents: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Put a stand-in under each further name of a child of `parents`; yield (stand-in, child)."""
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
