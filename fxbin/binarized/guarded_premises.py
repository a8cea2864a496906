"""The premises of a graph in a form that torch.compile can guard on, for models inside what is compiled."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Self

import torch
from torch import nn

from fxbin.original.value_kinds import SIMPLE
from fxbin.tracing import MISSING

_EQUAL = (bool, int, float, str, bytes, tuple, list, dict, Set)
"""Types of values that are compared by content, which may change in place."""

_THE_SAME = (nn.Module, FunctionType, BuiltinFunctionType, type, ModuleType, Enum, torch.dtype, type(None))
"""Types of values that are compared by identity."""

Attribute = tuple[Any, str, Any]
"""An object or a namespace, a name in it, and the value."""


class GuardedPremises:
    """The premises whose changes torch.compile can notice by itself.

    Dynamo follows the comparisons and guards on what they read: if one of them would come out otherwise, it
    compiles again. For that they are plain loops over attributes and dicts: Dynamo guards on nothing in
    ``name in vars(module)``, for example.

    Args:
        hooks: dicts of hooks, which must be empty.
        own_hooks: dicts of the hooks that run around the graph.
        counts: dicts of submodules with the number of submodules in each.
        places: entries of the dicts of modules; a missing one has the value `MISSING`.
        attributes: attributes of modules, and of objects that they hold.
        of_classes: attributes of classes, by their namespaces.
        of_globals: global variables, by the namespaces of their Python modules.
    """

    def __init__(
        self,
        *,
        hooks: Iterable[Mapping[int, Any]],
        own_hooks: Iterable[Mapping[int, Any]],
        counts: Iterable[tuple[Mapping[str, Any], int]],
        places: Iterable[Attribute],
        attributes: Iterable[Attribute],
        of_classes: Iterable[tuple[type, str, Any]],
        of_globals: Iterable[Attribute],
    ) -> None:
        self._hooks, self._own_hooks, self._counts = tuple(hooks), tuple(own_hooks), tuple(counts)
        places = [*places]
        self._places = tuple(p for p in places if p[2] is MISSING or isinstance(p[2], FunctionType))
        self._methods = tuple((held, n, m.__self__) for held, n, m in places if isinstance(m, MethodType))
        found = [*attributes, *_of_python_modules(of_globals)]
        found += [entry for entry in of_classes if isinstance(entry[2], (FunctionType, *SIMPLE))]
        self._same = tuple(entry for entry in found if isinstance(entry[2], _THE_SAME))
        self._equal = tuple(entry for entry in found if isinstance(entry[2], _EQUAL))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # until the copied premises are bound to the copied model

    def hold(self) -> bool:
        """Whether all of them hold now."""
        # Dynamo does not guard on hooks that it calls. Here it reads which there are, all of them. It reads
        # keys, as Dynamo of torch 2.14 does not guard on what is unpacked from a dict.
        hooks = [list(of_kind.keys()) for of_kind in (*self._own_hooks, *self._hooks)][len(self._own_hooks) :]
        return not any(hooks) and self._have_places() and self._have_values()

    def _have_places(self) -> bool:
        for children, count in self._counts:
            if len(children) != count:
                return False
        for held, name, value in self._places:
            if held.get(name, MISSING) is not value:
                return False
        for held, name, owner in self._methods:  # noqa: SIM110
            if getattr(held.get(name), "__self__", None) is not owner:
                return False
        return True

    def _have_values(self) -> bool:
        for owner, name, value in self._same:
            if getattr(owner, name, MISSING) is not value:
                return False
        for owner, name, value in self._equal:  # noqa: SIM110
            if getattr(owner, name, MISSING) != value:
                return False
        return True


def _of_python_modules(entries: Iterable[Attribute]) -> Iterator[Attribute]:
    """`entries` with Python modules in place of their namespaces, all of which Dynamo would guard on."""
    for space, name, value in entries:
        module = sys.modules.get(str(space.get("__name__"))) if isinstance(space, dict) else None
        if module is not None and vars(module) is space:
            yield module, name, value
