"""The conditions on modules under which a graph does what their code would do, and their check."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, chain, repeat
from types import FunctionType, MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.guarded_premises import GuardedPremises
from fxbin.binarized.values_beyond import Value, values_of_globals, values_of_objects
from fxbin.binarizers import Binarizer
from fxbin.tracing import MISSING, Read

_CONV2D_SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")
_PARAMETERS, _, _MODULES = torch_private.REGISTRIES
_PLACES = ("__dict__", *torch_private.REGISTRIES)

Entry = tuple[Mapping[str, Any], str, Any]
"""A namespace, a name in it, and the value."""


class Premises:
    """The premises of a graph: the modules it bypasses are unchanged, hold the same values, have no hooks.

    A graph calls layers as modules, which run their hooks and read their own attributes. It bypasses others:
    blocks, whose code it contains, and convolutions, whose settings it contains.

    Args:
        reads: the attributes and global variables that the code has read, with their values.
        followed: qualified names of the modules whose code was traced.
        iterated: qualified names of the modules whose code iterated over their submodules.
        final_values: attributes that the code sets, with the values, which a graph does not do.
    """

    def __init__(
        self,
        reads: Iterable[Read] = (),
        followed: Iterable[str] = (),
        iterated: Iterable[str] = (),
        final_values: Iterable[Read] = (),
    ) -> None:
        self._reads, self._followed, self._iterated = tuple(reads), frozenset(followed), tuple(iterated)
        self.final_values = tuple(final_values)
        self._modules: dict[str, nn.Module] = {}
        self._is_at: list[Read] = []
        self._counts: list[int] = []
        self._had_hooks = False
        """Whether there were hooks during the trace: the graph contains their effect, but may be outdated."""
        self._fetched: list[tuple[str, str, str]] = []
        self._bypassed: list[str] = []
        self._of_objects = values_of_objects(self._reads)
        self._of_globals = _Shared(_namespaced(values_of_globals(self._reads)))
        of_classes = {(read.kind, read.name): read.value for read in self._reads if read.kind is not None}
        self._of_classes = _OfClasses((vars(kind), name, x) for (kind, name), x in of_classes.items())

    def bind(self, model: nn.Module, graph: fx.Graph, path: str) -> None:
        """Check the modules of `model` from now on; or after a copy of both, those of the copied model.

        `graph` is the graph of the module at `path`, whose own hooks run around it.
        """
        if not self._bypassed:
            self._record(model, graph, path)
        modules = self._modules
        self._hooks = [
            hooks for p in self._bypassed if p != path for hooks in torch_private.called_hooks(modules[p])
        ]
        self._children = [torch_private.modules(modules[p]) for p in self._iterated]
        self._structure = _Entries(_of_modules(modules, self._is_at))
        # The current forward of a module belongs to the structure, as those of call sites are replaced.
        reads = [read for read in self._reads if read.name != "forward"]
        of_modules = [*_of_modules(modules, [*self._is_at, *reads])]
        self._entries = _Entries([*of_modules, *_namespaced(self._of_objects)])
        self._fetched_from = [_held(modules[p], registry) for p, registry, _ in self._fetched]
        self._fetched_names = [name for _, _, name in self._fetched]
        # Modules give functions of their classes as methods.
        read = [
            (modules[r.path], r.name, r.value)
            for r in (*reads, *self._is_at)
            if r.name != "forward"
            and r.registry != "nowhere"
            and not (r.registry == "class" and isinstance(r.value, FunctionType))
        ]
        self._guarded = GuardedPremises(
            hooks=self._hooks,
            own_hooks=torch_private.called_hooks(model.get_submodule(path)),
            counts=zip(self._children, self._counts, strict=True),
            places=of_modules,
            attributes=[*read, *self._of_objects],
            of_classes=[(r.kind, r.name, r.value) for r in self._reads if r.kind is not None],
            of_globals=self._of_globals.entries,
        )
        self._final_values = [(model.get_submodule(r.path), r.name, r.value) for r in self.final_values]

    def hold(self) -> bool:
        """Whether all premises hold now."""
        return (
            not self._has_other_modules()
            and self._entries.are_the_same()
            and self._of_classes.are_the_same()
            and self._of_globals.are_the_same()
        )

    def final_values_hold(self) -> bool:
        """Whether all attributes that the code sets have these values already."""
        for module, name, value in self._final_values:
            if value is MISSING or getattr(module, name, MISSING) != value:
                return False
        return True

    def structure_holds(self) -> bool:
        """Whether the modules are the same, with the same names of parameters, and have no hooks."""
        return not self._has_other_modules() and self._structure.are_the_same()

    def _has_other_modules(self) -> bool:
        # Without a Python loop, as in `_Entries`: a loop would take as long as a layer.
        return (
            self._had_hooks
            or any(self._hooks)
            or torch_private.has_any_global_hook()
            or [*map(len, self._children)] != self._counts
            or not all(map(dict.__contains__, self._fetched_from, self._fetched_names))
        )

    def hold_for_compiler(self) -> bool:
        """As `hold`, while Dynamo follows the code: it guards on what it can, and finds out the rest now."""
        return self._guarded.hold() and self.hold()

    def _record(self, model: nn.Module, graph: fx.Graph, path: str) -> None:
        """Record the current structure of `model` as the one that must remain."""
        bypassed = dict(_bypassed_modules(model, graph, path, self._followed))
        self._bypassed = [*bypassed]
        self._had_hooks = any(any(torch_private.called_hooks(m)) for p, m in bypassed.items() if p != path)
        # Code may read attributes of modules that it does not run.
        read = {read.path for read in self._reads} | {*self._iterated}
        self._modules = bypassed | {p: model.get_submodule(p) for p in read}
        self._is_at = [*_structure(bypassed, self._followed)]
        self._counts = [len(torch_private.modules(self._modules[p])) for p in self._iterated]
        for node in graph.nodes:
            owner, _, name = str(node.target).rpartition(".")
            if node.op == "get_attr" and owner in bypassed:
                registries = (r for r in _PLACES if name in _held(bypassed[owner], r))
                self._fetched += [(owner, registry, name) for registry in registries]


# Dynamo runs it as it is, and keeps the result.
setattr(Premises.hold, torch_private.MARKED_CONSTANT, True)


class _Entries:
    """Entries ``(dict, key, value)`` whose values are looked up and compared all at once, for speed."""

    _get: ClassVar[Callable[..., Any]] = staticmethod(dict.get)

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = [*entries]
        self._containers: list[Any] = [container for container, _, _ in entries]
        self._names = [name for _, name, _ in entries]
        self._values = [value for _, _, value in entries]

    @property
    def entries(self) -> Iterator[Entry]:
        """All entries."""
        return zip(self._containers, self._names, self._values, strict=True)

    def are_the_same(self) -> bool:
        """Whether each entry has the same value as at first."""
        try:
            return [*map(self._get, self._containers, self._names, repeat(MISSING))] == self._values
        except Exception:  # noqa: BLE001  (values that cannot be compared, such as arrays, differ)
            return False


class _Shared(_Entries):
    """Entries that a model shares with its copies, such as values of global variables."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _OfClasses(_Shared):
    """Methods and other attributes of classes, whose namespaces cannot be written to."""

    _get = staticmethod(MappingProxyType.get)


def _namespaced(values: Iterable[Value]) -> Iterator[Entry]:
    """Yield `values`, of namespaces and of objects, as entries of dicts."""
    for owner, name, value in values:
        yield owner if isinstance(owner, dict) else vars(owner), name, value


def _of_modules(modules: Mapping[str, nn.Module], reads: Iterable[Read]) -> Iterator[Entry]:
    """Yield the entries of `modules` that `reads` found, for `_Entries`."""
    for read in chain.from_iterable(map(_in_each_place, reads)):
        # An attribute of the class must be missing in the module itself, which would override it.
        value = MISSING if read.registry == "class" else read.value
        yield _held(modules[read.path], read.registry), read.name, value


def _in_each_place(entry: Read) -> list[Read]:
    """`entry`, or, for an attribute that was not found, one entry for each place that must not have it."""
    if entry.registry != "nowhere":
        return [entry]
    return [replace(entry, registry=place) for place in _PLACES]


def _held(module: nn.Module, registry: str) -> dict[str, Any]:
    """The dict of `module` that `registry` names; ``"class"`` stands for the module's own attributes."""
    attributes = vars(module)
    held: dict[str, Any] = attributes if registry in ("__dict__", "class") else attributes[registry]
    return held


def _structure(bypassed: Mapping[str, nn.Module], followed: Collection[str]) -> Iterator[Read]:
    """Yield the places and forwards of the modules `bypassed`, and the settings of convolutions, as reads."""
    modules = {id(module) for module in bypassed.values()}
    for path, module in bypassed.items():
        yield Read(path, "__dict__", "forward", vars(module).get("forward", MISSING))
        for name, child in torch_private.modules(module).items():
            if id(child) in modules or isinstance(child, Binarizer):
                yield Read(path, _MODULES, name, child)
        if isinstance(module, nn.Conv2d) and path not in followed:
            for name in _CONV2D_SETTINGS:
                yield Read(path, "__dict__", name, getattr(module, name))
            if module.bias is None:
                yield Read(path, _PARAMETERS, "bias", None)


def _bypassed_modules(
    model: nn.Module, graph: fx.Graph, path: str, followed: Iterable[str]
) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of all modules that `graph` bypasses: it calls neither them nor a parent."""
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    for name, module in model.named_modules():
        if name not in followed:
            if path and not f"{name}.".startswith(f"{path}."):
                continue
            if isinstance(module, Binarizer | torch.jit.ScriptModule):
                continue
            if not called.isdisjoint(accumulate(name.split("."), "{}.{}".format)):
                continue
        yield name, module
