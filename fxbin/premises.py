"""What a graph takes for granted of the modules whose code it stands for, and whether it still holds."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, chain, repeat
from types import FunctionType, MappingProxyType
from typing import Any, Self

import torch
from torch import fx, nn
from torch.nn.modules import module as torch_module

from fxbin.binarizers import Binarizer
from fxbin.tracing import MISSING, Read
from fxbin.tracing.reach import CALLED_HOOKS
from fxbin.values_beyond import Value, values_of_globals, values_of_objects

_CONV2D_SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")
_COMPARED = (bool, int, float, str, tuple, list)

_GLOBAL_HOOKS: tuple[dict[int, Any], ...] = tuple(
    vars(torch_module)[f"_global{name}"] for name in CALLED_HOOKS
)


class Premises:
    """That the modules a graph goes past are those that were traced, without hooks, and hold what was read.

    A graph calls layers as modules, around which hooks run and which read their attributes themselves. Others
    it goes past: blocks, whose code it stands for, and convolutions, whose settings it has as its own.

    Args:
        reads: what the code has read.
        followed: qualified names of the modules whose code was followed.
        iterated: those of the modules that went through their submodules.
        left: what the code leaves in attributes, which a graph does not.
    """

    def __init__(
        self,
        reads: Iterable[Read] = (),
        followed: Iterable[str] = (),
        iterated: Iterable[str] = (),
        left: Iterable[Read] = (),
    ) -> None:
        self._reads, self._followed, self._iterated = tuple(reads), frozenset(followed), tuple(iterated)
        self.left = tuple(left)
        self._modules: dict[str, nn.Module] = {}
        self._is_at: list[Read] = []
        self._counts: list[int] = []
        self._had_hooks = False
        """Whether the graph has in it what hooks did, which are asked themselves from then on."""
        self._fetched: list[tuple[str, str, str]] = []
        self._passed: list[str] = []
        self._of_objects = values_of_objects(self._reads)
        self._of_globals = _Globals(values_of_globals(self._reads))

    def bind(self, model: nn.Module, graph: fx.Graph, path: str) -> None:
        """Look from now on at the modules of `model`, or of the copy of it that this is a copy with.

        `graph` is that of the module at `path`, whose own hooks run around it.
        """
        if not self._passed:
            self._look_at(model, graph, path)
        modules = self._modules
        self._hooks = [vars(modules[p])[name] for p in self._passed if p != path for name in CALLED_HOOKS]
        self._children = [modules[p]._modules for p in self._iterated]
        self._structure = _Entries(_of_modules(modules, self._is_at))
        of_classes = {(read.kind, read.name): read.value for read in self._reads if read.kind is not None}
        self._classes = [kind for kind, _ in of_classes]
        self._names_of_classes = [name for _, name in of_classes]
        self._values_of_classes = [*of_classes.values()]
        of_objects = ((vars(item), name, value) for item, name, value in self._of_objects)
        # Which forward a module has now is part of the structure: call sites have put theirs in place.
        reads = [read for read in self._reads if read.name != "forward"]
        self._entries = _Entries([*_of_modules(modules, [*self._is_at, *reads]), *of_objects])
        self._fetched_from = [_held(modules[p], registry) for p, registry, _ in self._fetched]
        self._fetched_names = [name for _, _, name in self._fetched]
        read = [
            (modules[r.path], r.name, r.value)
            for r in (*reads, *self._is_at)
            if r.name != "forward" and r.registry != "nowhere"
        ]
        functions = {id(r.value) for r in self._reads if r.registry == "class"}  # which modules give bound
        self._objects = [
            entry
            for entry in read
            if entry[2] is None or (isinstance(entry[2], FunctionType) and id(entry[2]) not in functions)
        ]
        self._values = [entry for entry in [*read, *self._of_objects] if isinstance(entry[2], _COMPARED)]
        self._left = [(model.get_submodule(r.path), r.name, r.value) for r in self.left]

    def hold(self) -> bool:
        """Whether all of it is so now."""
        return (
            not self._has_other_modules()
            and self._entries.are_the_same()
            and self._classes_are_the_same()
            and self._of_globals.are_the_same()
        )

    def _classes_are_the_same(self) -> bool:
        contents = map(vars, self._classes)
        try:
            return [*map(MappingProxyType.get, contents, self._names_of_classes)] == self._values_of_classes
        except Exception:  # noqa: BLE001  (as in `_Entries`)
            return False

    def leaves_nothing(self) -> bool:
        """Whether all attributes that the code sets have the values already that it would set them to."""
        for module, name, value in self._left:
            if value is MISSING or getattr(module, name, MISSING) != value:
                return False
        return True

    def structure_holds(self) -> bool:
        """Whether the modules are the same ones, with the same parameters by name, and have no hooks."""
        return not self._has_other_modules() and self._structure.are_the_same()

    def _has_other_modules(self) -> bool:
        # With no loop in Python, as in `_Entries`: that would cost as much as a layer.
        return (
            self._had_hooks
            or any(self._hooks)
            or any(_GLOBAL_HOOKS)
            or [*map(len, self._children)] != self._counts
            or not all(map(dict.__contains__, self._fetched_from, self._fetched_names))
        )

    def hold_for_compiler(self) -> bool:
        """As `hold`, for what torch.compile can guard on: hooks, and attributes that are plain values."""
        if self._had_hooks:
            return False
        for hooks in self._hooks:
            if len(hooks):
                return False
        for module, name, value in self._objects:
            if getattr(module, name) is not value:
                return False
        for module, name, value in self._values:  # noqa: SIM110
            if getattr(module, name) != value:
                return False
        return True

    def _look_at(self, model: nn.Module, graph: fx.Graph, path: str) -> None:
        """Take what there is for what must be."""
        passed = dict(_passed(model, graph, path, self._followed))
        self._passed = [*passed]
        self._had_hooks = any(vars(m)[name] for p, m in passed.items() if p != path for name in CALLED_HOOKS)
        # Code may read what is in modules that it does not run.
        read = {read.path for read in self._reads} | {*self._iterated}
        self._modules = passed | {p: model.get_submodule(p) for p in read}
        self._is_at = [*_structure(passed, self._followed)]
        self._counts = [len(self._modules[p]._modules) for p in self._iterated]
        for node in graph.nodes:
            owner, _, name = str(node.target).rpartition(".")
            if node.op == "get_attr" and owner in passed:
                registries = (
                    r for r in ("_parameters", "_buffers", "__dict__") if name in _held(passed[owner], r)
                )
                self._fetched += [(owner, registry, name) for registry in registries]


class _Entries:
    """Entries of dicts, looked up together: ``(dict, key, value)``."""

    def __init__(self, entries: Iterable[tuple[Mapping[str, Any], str, Any]]) -> None:
        entries = [*entries]
        self._containers: list[Any] = [container for container, _, _ in entries]
        self._names = [name for _, name, _ in entries]
        self._values = [value for _, _, value in entries]

    def are_the_same(self) -> bool:
        """Whether each is what it was."""
        try:
            return [*map(dict.get, self._containers, self._names, repeat(MISSING))] == self._values
        except Exception:  # noqa: BLE001  (arrays and others that cannot be compared are not the same ones)
            return False


class _Globals(_Entries):
    """Values of global variables, which copies of a model have in common."""

    def __init__(self, values: Iterable[Value]) -> None:
        super().__init__((o if isinstance(o, dict) else vars(o), name, value) for o, name, value in values)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _of_modules(
    modules: Mapping[str, nn.Module], reads: Iterable[Read]
) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """Entries of what modules hold."""
    for read in chain.from_iterable(map(_wherever, reads)):
        # What a class has, a module must not have itself, as that would hide it.
        value = MISSING if read.registry == "class" else read.value
        yield _held(modules[read.path], read.registry), read.name, value


def _wherever(entry: Read) -> list[Read]:
    """What is nowhere must be in none of the places that a module looks in."""
    if entry.registry != "nowhere":
        return [entry]
    return [replace(entry, registry=place) for place in ("__dict__", "_parameters", "_buffers", "_modules")]


def _held(module: nn.Module, registry: str) -> dict[str, Any]:
    attributes = vars(module)
    held: dict[str, Any] = attributes if registry in ("__dict__", "class") else attributes[registry]
    return held


def _structure(passed: Mapping[str, nn.Module], followed: Collection[str]) -> Iterator[Read]:
    """Which modules are where, with which forward, and what a graph has of convolutions."""
    modules = {id(module) for module in passed.values()}
    for path, module in passed.items():
        yield Read(path, "__dict__", "forward", vars(module).get("forward", MISSING))
        for name, child in module._modules.items():
            if id(child) in modules or isinstance(child, Binarizer):
                yield Read(path, "_modules", name, child)
        if isinstance(module, nn.Conv2d) and path not in followed:
            for name in _CONV2D_SETTINGS:
                yield Read(path, "__dict__", name, getattr(module, name))
            if module.bias is None:
                yield Read(path, "_parameters", "bias", None)


def _passed(
    model: nn.Module, graph: fx.Graph, path: str, followed: Iterable[str]
) -> Iterator[tuple[str, nn.Module]]:
    """The modules that `graph` does not call, nor anything they are in, by name."""
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
