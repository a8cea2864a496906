"""The conditions on modules under which a graph does what their code would do, and their check."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, chain
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.entries import Entries, Entry
from fxbin.binarized.guarded_premises import GuardedPremises
from fxbin.binarized.original_class import made_class
from fxbin.binarized.values_beyond import ClassValues, GlobalValues, HeldValues, is_held, reached_functions
from fxbin.binarizers import Binarizer
from fxbin.original.closures import rebound
from fxbin.original.mentions import mentions
from fxbin.original.value_kinds import is_foreign
from fxbin.tracing import MISSING, Read

_CONV2D_SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")
_PARAMETERS, _, _MODULES = torch_private.REGISTRIES
_PLACES = ("__dict__", *torch_private.REGISTRIES)


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
        reads = tuple(reads)
        self._followed, self._iterated = frozenset(followed), tuple(iterated)
        self.final_values = tuple(final_values)
        self._modules: dict[str, nn.Module] = {}
        self._is_at: list[Read] = []
        self._counts: list[int] = []
        self._kinds: dict[str, type] = {}
        self._had_hooks = False
        """Whether there were hooks during the trace: the graph contains their effect, but may be outdated."""
        self._fetched: list[tuple[str, str, str]] = []
        self._of_layers: dict[tuple[type, str], Any] = {}
        self._bypassed: list[str] = []
        self._reads = tuple(read for read in reads if read.kind is not None or not is_held(read))
        functions = reached_functions(reads)
        self._mentioned = mentions([*functions, *(read.value for read in reads if read.kind is not None)])
        self.held = HeldValues(filter(is_held, reads), self._mentioned)
        """What the code reads inside of what modules hold."""
        self._of_globals = GlobalValues(functions, self._mentioned)
        self._of_classes = ClassValues()

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
        self._typed = [model, *(modules[p] for p in self._kinds)]
        self._types = [made_class(model), *self._kinds.values()]
        self._children = [torch_private.modules(modules[p]) for p in self._iterated]
        self._structure = Entries(_of_modules(modules, self._is_at))
        # The current forward of a module belongs to the structure, as those of call sites are replaced.
        reads = [read for read in self._reads if read.name != "forward"]
        of_modules = [*_of_modules(modules, [*self._is_at, *reads])]
        of_classes = {(read.kind, read.name): read.value for read in self._reads if read.kind is not None}
        of_classes |= self._of_classes.values
        of_classes |= self._of_layers
        self._entries = Entries(
            [*of_modules, *((vars(kind), name, value) for (kind, name), value in of_classes.items())]
        )
        self.held.take(model, modules)
        self._fetched_from = [_held(modules[p], registry) for p, registry, _ in self._fetched]
        self._fetched_names = [name for _, _, name in self._fetched]
        self._guarded = self._guards(model, path, reads, of_modules, of_classes)
        self._final_values = [(model.get_submodule(r.path), r.name, r.value) for r in self.final_values]

    def _guards(
        self,
        model: nn.Module,
        path: str,
        reads: list[Read],
        of_modules: list[Entry],
        of_classes: Mapping[tuple[type, str], Any],
    ) -> GuardedPremises:
        """What Dynamo guards on; the arguments are those of `bind`, and what it compares in eager mode."""
        modules = self._modules
        # Modules give functions of their classes as methods.
        read = [
            (modules[r.path], r.name, r.value)
            for r in (*reads, *self._is_at)
            if r.name not in ("forward", torch_private.CONV_FORWARD)
            and r.registry != "nowhere"
            and not (r.registry == "class" and isinstance(r.value, FunctionType))
        ]
        return GuardedPremises(
            hooks=self._hooks,
            own_hooks=torch_private.called_hooks(model.get_submodule(path)),
            counts=zip(self._children, self._counts, strict=True),
            places=of_modules,
            attributes=[*read, *self.held.attributes],
            of_classes=[(kind, name, value) for (kind, name), value in of_classes.items()],
            of_globals=self._of_globals.guarded,
        )

    def rebind(self, copies: dict[int, Any]) -> None:
        """Expect the forwards of a copied model, which refer to `copies`, by id of what was copied."""
        self._is_at = [replace(read, value=rebound(read.value, copies)) for read in self._is_at]

    def hold(self) -> bool:
        """Whether all premises hold now."""
        return (
            not self._has_other_modules()
            and self._entries.are_the_same()
            and self._of_globals.are_the_same()
            and self._of_classes.are_the_same()
            and self.held.are_the_same()
        )

    def final_values_hold(self) -> bool:
        """Whether all attributes that the code sets have these values already."""
        for module, name, value in self._final_values:
            if value is MISSING or getattr(module, name, MISSING) != value:
                return False
        return True

    @property
    def attributes_to_set(self) -> list[str]:
        """Qualified names of the attributes that the code sets to other values than they have now."""
        return [
            f"{read.path}.{read.name}" if read.path else read.name
            for read, (module, name, value) in zip(self.final_values, self._final_values, strict=True)
            if value is MISSING or getattr(module, name, MISSING) != value
        ]

    def structure_holds(self) -> bool:
        """Whether the modules are the same, of the same classes and parameters, and have no hooks."""
        return not self._has_other_modules() and self._structure.are_the_same()

    def _has_other_modules(self) -> bool:
        # Without a Python loop, as in `Entries`: a loop would take as long as a layer.
        return (
            self._had_hooks
            or any(self._hooks)
            or torch_private.has_any_global_hook()
            or [*map(len, self._children)] != self._counts
            or [*map(type, self._typed)] != self._types
            or not all(map(dict.__contains__, self._fetched_from, self._fetched_names))
        )

    def hold_for_compiler(self) -> bool:
        """As `hold`, while Dynamo follows the code: it guards on what it can, and finds out the rest now."""
        return (
            self._guarded.hold() and self._have_same_types() and self.held.hold_for_compiler() and self.hold()
        )

    def _have_same_types(self) -> bool:
        for module, kind in zip(self._typed, self._types, strict=True):  # noqa: SIM110
            if type(module) is not kind:
                return False
        return True

    def _record(self, model: nn.Module, graph: fx.Graph, path: str) -> None:
        """Record the current structure of `model` as the one that must remain."""
        bypassed = dict(_bypassed_modules(model, graph, path, self._followed))
        self._bypassed = [*bypassed]
        self._had_hooks = any(any(torch_private.called_hooks(m)) for p, m in bypassed.items() if p != path)
        # Code may read attributes of modules that it does not run.
        read = {read.path for read in self._reads} | self.held.paths | {*self._iterated}
        self._modules = bypassed | {p: model.get_submodule(p) for p in read}
        self._is_at = [*_structure(bypassed, self._followed)]
        # As they are now, not as a copy finds them.
        layers = (module for p, module in self._modules.items() if p not in self._followed)
        self._of_layers = {(kind, name): value for kind, name, value in _of_convolutions(layers)}
        self._of_layers |= dict.fromkeys(_overriding(self._modules, self._reads), MISSING)
        # The class of the model itself is made anew in each copy.
        self._kinds = {p: type(module) for p, module in self._modules.items() if p}
        kinds = dict.fromkeys(kind for p in self._followed for kind in type(model.get_submodule(p)).__mro__)
        self._of_classes = ClassValues(kinds, self._mentioned)
        self._counts = [len(torch_private.modules(self._modules[p])) for p in self._iterated]
        for node in graph.nodes:
            owner, _, name = str(node.target).rpartition(".")
            if node.op == "get_attr" and owner in bypassed:
                registries = (r for r in _PLACES if name in _held(bypassed[owner], r))
                self._fetched += [(owner, registry, name) for registry in registries]


# Dynamo runs it as it is, and keeps the result.
setattr(Premises.hold, torch_private.MARKED_CONSTANT, True)


def _of_modules(modules: Mapping[str, nn.Module], reads: Iterable[Read]) -> Iterator[Entry]:
    """Yield the entries of `modules` that `reads` found, for `Entries`."""
    for read in chain.from_iterable(map(_in_each_place, reads)):
        # An attribute of the class must be missing in the module itself, which would override it.
        value = MISSING if read.registry == "class" else read.value
        yield _held(modules[read.path], read.registry), read.name, value


def _of_convolutions(layers: Iterable[nn.Module]) -> Iterator[tuple[type, str, Any]]:
    """Yield the methods of the classes of convolutions, which a graph does not call."""
    for kind in {type(layer) for layer in layers if isinstance(layer, nn.Conv2d)}:
        for name in ("forward", torch_private.CONV_FORWARD):
            owner = next(owner for owner in kind.__mro__ if name in vars(owner))
            yield owner, name, vars(owner)[name]


def _overriding(modules: Mapping[str, nn.Module], reads: Iterable[Read]) -> Iterator[tuple[type, str]]:
    """Yield classes that would override what `reads` found in their base classes, if they had that name."""
    for read in reads:
        if read.kind is not None:
            bases = type(modules[read.path]).__mro__
            for base in bases[: bases.index(read.kind)]:
                # Those that fxbin derives have the names that they override, and are made anew in each copy.
                if read.name not in vars(base) and not is_foreign(base):
                    yield base, read.name


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
            method = vars(module).get(torch_private.CONV_FORWARD, MISSING)
            yield Read(path, "__dict__", torch_private.CONV_FORWARD, method)
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
