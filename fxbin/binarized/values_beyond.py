"""Finds values outside of modules that code depends on: in what modules hold, and global variables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Self

from torch import nn

from fxbin.binarized.entries import Entries, Entry
from fxbin.binarized.kept import by_identity, told_by_identity
from fxbin.binarized.search import Search
from fxbin.graph.record import Specialisation
from fxbin.original.mentions import Mentions, globals_named, package_of
from fxbin.original.value_kinds import PLAIN, SIMPLE, is_foreign, is_object
from fxbin.tracing import MISSING, Read

_GUARDED = 1_000
"""Number of items of containers on which torch.compile is to guard."""

_NONE = Mentions()

_CODE = (FunctionType, BuiltinFunctionType, type, nn.Module)
"""Types of values that are compared by identity."""


class HeldValues:
    """What code reads of containers, objects and functions that modules hold, or that their classes hold.

    It is taken from a model with `take`, and taken again from a copy of the model, because classes may copy
    what they hold in their own ways.
    """

    def __init__(self, reads: Iterable[Read], mentioned: Mentions) -> None:
        # The values were those of the trace, with stand-ins for tensors; those of classes are shared.
        self._reads = [r if r.kind is not None else replace(r, value=None) for r in reads]
        self._mentioned = mentioned
        self._is_taken = self._has_changed = False
        self._entries: list[Entries] = []
        self.attributes: list[tuple[Any, str, Any]] = []
        """The values that are attributes, each with its owner and its name."""
        self._plain_items: list[tuple[Any, Any, Any]] = []
        self._other_items: list[tuple[Any, Any, Any]] = []
        self.left_out: tuple[Specialisation, ...] = ()
        """What is not compared."""

    @property
    def paths(self) -> set[str]:
        """Qualified names of the modules that hold something."""
        return {read.path for read in self._reads}

    def take(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        """Take the values that `modules`, which are those of `model` by qualified name, hold now."""
        if self._is_taken or not self._reads:
            return
        self._is_taken = True
        known = [*map(id, model.modules()), *map(id, model.parameters()), *map(id, model.buffers())]
        mentioned = self._mentioned
        while True:
            search = Search(mentioned, known)
            found = [*self._added(search, modules), *search.attributes]
            self.attributes = [(owner, name, told_by_identity(value)) for owner, name, value in found]
            more = mentioned | search.mentioned_inside
            if more == mentioned:
                break
            mentioned = more
        self._entries = search.found
        items = search.items[:_GUARDED]
        self._plain_items = [item for item in items if isinstance(item[2], SIMPLE)]
        self._other_items = [item for item in items if not isinstance(item[2], SIMPLE)]
        self.left_out = tuple(dict.fromkeys(search.left_out))

    def _added(self, search: Search, modules: Mapping[str, nn.Module]) -> Iterator[tuple[Any, str, Any]]:
        for read in self._reads:
            module, where = modules[read.path], f"{read.path}.{read.name}".lstrip(".")
            scope = type(module).__name__
            if read.kind is not None:
                search.add(vars(read.kind), read.name, read.value, where, scope)
            elif read.name in vars(module):
                yield (
                    module,
                    read.name,
                    search.add(vars(module), read.name, vars(module)[read.name], where, scope),
                )

    def are_the_same(self) -> bool:
        """Whether all values are what they were when they were taken."""
        return not self._has_changed and _are_the_same(self._entries)

    def hold_for_compiler(self) -> bool:
        """Whether items of containers are what they were, as far as torch.compile can guard on them."""
        for container, key, value in self._plain_items:
            if container[key] != value:
                return False
        for container, key, value in self._other_items:  # noqa: SIM110
            if container[key] is not value:
                return False
        return True

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self)(self._reads, self._mentioned)
        # What the copied model holds must not be taken for what the graph was traced with.
        copied._has_changed = not self.are_the_same()
        copied.left_out = self.left_out
        return copied


class GlobalValues:
    """The global variables that `functions` read, and what they read of objects in them.

    Of lists, dicts and tensors only identity counts, not the content. The variables are in the namespaces of
    the functions, or of other Python modules of the same package. A model shares them with its copies.
    """

    def __init__(self, functions: Iterable[FunctionType], mentioned: Mentions) -> None:
        search = Search(mentioned)
        others: list[Entry] = []
        self.guarded: list[tuple[dict[str, Any], str, Any]] = []
        """Plain values, functions and classes, each with the namespace and the name of the variable."""
        seen: set[tuple[int, str]] = set()
        for function in functions:
            for space, name in globals_named(function):
                value = space[name]
                if (id(space), name) in seen:
                    continue
                seen.add((id(space), name))
                if isinstance(value, (*PLAIN, *_CODE)):
                    self.guarded.append((space, name, value))
                is_searched = is_object(value) and not isinstance(value, FunctionType | nn.Module)
                if is_searched or isinstance(value, (*PLAIN, tuple)):
                    search.add(space, name, value, name)
                elif not isinstance(value, ModuleType):
                    others.append((space, name, by_identity(value)))
        self._entries = [*search.found, *filter(None, [Entries(others)])]

    def are_the_same(self) -> bool:
        """Whether all values are what they were at first."""
        return _are_the_same(self._entries)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class ClassValues:
    """What `kinds`, the classes of modules, have under the names that code mentions.

    Code may read it by way of the class, ``type(self).scale`` or ``Net.scale``. A model shares it with its
    copies.
    """

    def __init__(self, kinds: Iterable[type] = (), mentioned: Mentions = _NONE) -> None:
        self.values: dict[tuple[type, str], Any] = {}
        """The values, each with its class and its name; those that may change inside are not among them."""
        search = Search(mentioned)
        for kind in kinds:
            space = {} if is_foreign(kind) else vars(kind)
            for name in sorted(mentioned.names & space.keys()):
                value = space[name]
                if name.startswith("__") or hasattr(type(value), "__get__") or isinstance(value, PLAIN):
                    self.values[kind, name] = value
                else:
                    search.add(space, name, value, f"{kind.__name__}.{name}")
        self._entries = search.found

    def are_the_same(self) -> bool:
        """Whether all values are what they were at first, without those in `values`."""
        return _are_the_same(self._entries)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _are_the_same(found: Iterable[Entries]) -> bool:
    for entries in found:  # noqa: SIM110  (a generator takes longer)
        if not entries.are_the_same():
            return False
    return True


def reached_functions(reads: Iterable[Read]) -> list[FunctionType]:
    """The functions among `reads`, and those of their package that they reach through global variables.

    Also through modules of the package: ``operators.scaled(x)``.
    """
    pending = [read.value for read in reads if isinstance(read.value, FunctionType)]
    seen = dict.fromkeys(pending)
    while pending:
        function = pending.pop()
        package = package_of(function.__globals__)
        for space, name in globals_named(function):
            value = space[name]
            if (
                isinstance(value, FunctionType)
                and value not in seen
                and package_of(value.__globals__) == package
            ):
                seen[value] = None
                pending.append(value)
    return [*seen]


def is_held(read: Read) -> bool:
    """Whether what the value of `read` holds may change without another value in its place."""
    if read.kind is not None:
        return not hasattr(type(read.value), "__get__") and not _is_plain(read.value)
    is_attribute = read.registry == "__dict__" and read.name != "forward" and read.value is not MISSING
    return is_attribute and not _is_plain(read.value)


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, tuple) else isinstance(value, PLAIN)
