"""Searches what modules hold for values that code may read, to compare them before each call."""

import copy
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import starmap
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarized.entries import Entries, Entry, OfSlots
from fxbin.binarized.kept import (
    LARGEST,
    Same,
    SameArray,
    SameHolder,
    SameItems,
    SameTensor,
    by_identity,
)
from fxbin.graph.record import Specialisation
from fxbin.original.closures import WEAK, variables
from fxbin.original.contained import items_in, keys_in
from fxbin.original.mentions import Mentions, mentions, mentions_of_class
from fxbin.original.value_kinds import ARRAYS, CONTAINERS, PLAIN, bases_of, is_object
from fxbin.tracing import MISSING

DEPTH = 8
"""Number of objects and containers inside one another that are searched."""

ITEMS = 100_000
"""Number of items of containers that are compared, all together."""

OBJECTS = 1_000
"""Number of objects whose attributes are compared."""

_ORDERED = 2
"""Number of items from which a dict has an order."""

_PARAMETERS, _BUFFERS, _MODULES = torch_private.REGISTRIES
_OF_A_MODULE = (_MODULES, *torch_private.CALLED_HOOKS)
_FORWARD = Mentions(frozenset({"forward"}))


class Search:
    """Finds what code may read in attributes of modules: in containers, in objects, and in objects in those.

    All items of containers count, and attributes of objects whose names the code mentions.

    Args:
        mentioned: the names that the code mentions.
        known: ids of objects that are compared elsewhere, such as the modules of the model.
    """

    def __init__(self, mentioned: Mentions, known: Collection[int] = ()) -> None:
        self._mentioned, self._seen, self._scope = mentioned, {*known}, ""
        self._pending: deque[tuple[Any, str, Mentions, int]] = deque()
        self._items, self._objects = ITEMS, OBJECTS
        self._own: dict[type, Mentions] = {}
        self._of_spaces: list[Entry] = []
        self._of_slots: list[Entry] = []
        self.attributes: list[tuple[Any, str, Any]] = []
        """The values that are attributes of objects, with the object and the name."""
        self.items: list[tuple[Any, Any, Any]] = []
        """The items of dicts, lists and the like, with the container and the key or index."""
        self.left_out: list[Specialisation] = []
        """What is not compared, because it is too large."""
        self.mentioned_inside = Mentions()
        """What functions that were found mention."""

    @property
    def found(self) -> list[Entries]:
        """All values that were found, to be compared."""
        kinds = (Entries(self._of_spaces), OfSlots(self._of_slots))
        return [entries for entries in kinds if entries]

    def add(self, space: Any, name: str, value: Any, where: str, scope: str = "") -> Any:
        """Compare `value` and what can be reached from it from now on, and return what it is compared with.

        Args:
            space: the namespace that has `value`: a dict, or that of a class.
            name: its name there.
            value: the value.
            where: the expression that gives it.
            scope: name of the class of the module that has it.
        """
        self._scope = scope
        kept = self._kept(value, where, self._mentioned, 0)
        self._of_spaces.append((space, name, kept))
        self._finish()
        return kept

    def _finish(self) -> None:
        while self._pending:
            item, where, mentioned, depth = self._pending.popleft()
            if id(item) in self._seen:
                continue
            self._seen.add(id(item))
            self._objects -= 1
            if self._objects < 0:
                self._leave_out(where, "an object", f"more than {OBJECTS} objects")
                continue
            self._look_into(item, where, mentioned, depth)

    def _leave_out(self, where: str, what: str, why: str) -> None:
        self.left_out.append(Specialisation(where, f"{what}: {why}", self._scope, "not compared"))

    def _kept(self, item: Any, where: str, mentioned: Mentions, depth: int) -> Any:
        """What is equal to `item` until it changes; objects to be searched are added to `_pending`."""
        if type(item) in WEAK:  # a proxy would answer for what it refers to
            return Same(item)
        if isinstance(item, PLAIN) or item is MISSING:
            return item
        if isinstance(item, (*ARRAYS, Tensor)):
            return self._kept_numbers(item, where, depth)
        if isinstance(item, bytearray | array):
            return SameHolder(item, copy.copy(item))
        if isinstance(item, CONTAINERS) and id(item) not in self._seen:
            return self._kept_items(item, where, mentioned, depth)
        if is_object(item):
            if depth >= DEPTH:
                self._leave_out(where, f"{type(item).__name__} object", f"deeper than {DEPTH} levels")
            else:
                self._pending.append((item, where, mentioned, depth))
        return by_identity(item)

    def _kept_numbers(self, item: Any, where: str, depth: int) -> Any:
        is_array = isinstance(item, ARRAYS)
        if not is_array:
            # What trains, and buffers of the model, are read by graphs themselves.
            is_compared = type(item) is Tensor and item.layout is torch.strided and not item.is_meta
            if not is_compared or item.requires_grad or id(item) in self._seen:
                return by_identity(item)
        if item.nbytes <= LARGEST:
            return SameArray(item) if is_array else SameTensor(item)
        if is_array or not depth:  # code rarely reads numbers from large tensors further inside
            self._leave_out(where, f"{type(item).__name__} of shape {tuple(item.shape)}", "too large")
        return by_identity(item)

    def _kept_items(self, item: Any, where: str, mentioned: Mentions, depth: int) -> Any:
        self._items -= len(item)
        if depth >= DEPTH or self._items < 0:
            why = f"deeper than {DEPTH} levels" if depth >= DEPTH else f"more than {ITEMS} items"
            self._leave_out(where, f"{type(item).__name__} of {len(item)} items", why)
            return by_identity(item)

        def kept(key: Any, value: Any) -> Any:
            if isinstance(key, int | str):
                self.items.append((item, key, value))
            if isinstance(value, PLAIN):
                return value
            return self._kept(value, f"{where}[{key!r}]", mentioned, depth + 1)

        content: Any
        if type(item) is dict and len(item) < _ORDERED:
            content = dict(zip(item, starmap(kept, item.items()), strict=True))  # compared faster
        elif isinstance(item, dict):
            content = SameItems(keys_in(item), starmap(kept, items_in(item).items()))
        elif isinstance(item, set | frozenset):
            content = {*item}
            [kept(0, value) for value in item]
        else:
            kind: Any = next(kind for kind in CONTAINERS if isinstance(item, kind))
            content = kind(starmap(kept, enumerate(item)))
        if type(item) in CONTAINERS or not is_object(item):
            return content
        self._pending.append((item, where, mentioned, depth))
        return SameHolder(item, content)

    def _look_into(self, item: Any, where: str, mentioned: Mentions, depth: int) -> None:
        """Compare attributes of the object `item`: those whose names the code or its own methods mention."""
        kind = item if isinstance(item, type) else type(item)
        if kind not in self._own:
            self._own[kind] = mentions_of_class(bases_of(kind))
        mentioned |= self._own[kind]
        if isinstance(item, nn.Module):
            mentioned |= _FORWARD

        def kept(name: str, value: Any) -> Any:
            found = self._kept(value, f"{where}.{name}", mentioned, depth + 1)
            self.attributes.append((item, name, found))
            return found

        for owner, name in _parts(item):
            self._of_slots.append((owner, name, kept(name, getattr(owner, name))))
        held = getattr(item, "__dict__", None)
        space = held if isinstance(held, dict) else {}
        for name in mentioned.names & space.keys():
            self._of_spaces.append((space, name, kept(name, space[name])))
        missing = {*mentioned.optional, *self._look_at_classes(item, mentioned.names - space.keys(), kept)}
        if isinstance(held, dict):
            self._of_spaces += ((space, name, MISSING) for name in missing - space.keys())
        if isinstance(item, FunctionType | MethodType):
            self.mentioned_inside |= mentions([item])
        if isinstance(item, nn.Module):
            self._look_into_module(item, where, mentioned, depth)

    def _look_at_classes(
        self, item: Any, names: Collection[str], kept: Callable[[str, Any], Any]
    ) -> Iterator[str]:
        """Compare what classes give the object `item` under `names`; yield names that it could override."""
        for base, name, value in _of_classes(item, names):
            is_method = value is MISSING or hasattr(type(value), "__get__")
            if isinstance(value, MemberDescriptorType):
                self._of_slots.append((item, name, kept(name, getattr(item, name, MISSING))))
            elif not (is_method and isinstance(item, type)):
                self._of_spaces.append((vars(base), name, value if is_method else kept(name, value)))
                yield name

    def _look_into_module(self, module: nn.Module, where: str, mentioned: Mentions, depth: int) -> None:
        """Compare what a module that is none of the model's, as it is in a list, consists of."""
        space = vars(module)
        for name in (_PARAMETERS, _BUFFERS):
            self._of_spaces.append(
                (space, name, SameItems(space[name], map(by_identity, space[name].values())))
            )
        for name in _OF_A_MODULE:
            kept = self._kept(space[name], f"{where}.{name}", mentioned, depth + 1)
            self._of_spaces.append((space, name, kept))


def _parts(item: Any) -> list[tuple[Any, str]]:
    """What the function `item` runs with, as attributes of objects: defaults, closure, bound arguments."""
    if isinstance(item, partial):
        return [(item, "func"), (item, "args"), (item, "keywords")]
    if isinstance(item, MethodType):
        return [(item, "__self__"), (item, "__func__")]
    if isinstance(item, FunctionType):
        cells = [(cell, "cell_contents") for cell, _ in variables(item)]
        return [(item, "__defaults__"), (item, "__kwdefaults__"), *cells]
    return []


def _of_classes(item: Any, names: Iterable[str]) -> Iterator[tuple[type, str, Any]]:
    """Yield attributes that the object `item` has from its classes, or that it has itself as a class."""
    bases = bases_of(item if isinstance(item, type) else type(item))
    for name in names:
        if not name.startswith("__"):
            base = next((base for base in bases if name in vars(base)), None)
            if base is not None:
                # A class before it could get the attribute as well.
                yield from ((before, name, MISSING) for before in bases[: bases.index(base)])
                yield base, name, vars(base)[name]
