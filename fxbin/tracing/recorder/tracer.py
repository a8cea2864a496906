"""Runs a model on tensors without data and writes what it does into a graph."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.errors import TraceError
from fxbin.graph.calls.guards import (
    assign_buffer,
    check_count,
    check_specialised,
    check_weights,
    register_hook,
)
from fxbin.graph.containers import map_nested
from fxbin.graph.record import Specialisation
from fxbin.graph.scope import Scope, ScopeFinder
from fxbin.original.holdings import Holdings
from fxbin.tracing.recorder.expressions import describe, is_about_dtypes, is_about_weights
from fxbin.tracing.recorder.kept_whole import KeepsWhole
from fxbin.tracing.recorder.location import user_location
from fxbin.tracing.recorder.reads import Reads
from fxbin.tracing.recorder.recorder import Args, Call, Kwargs
from fxbin.tracing.recorder.wholes import run_on_ones
from fxbin.tracing.stay import Stay, without_data
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.dispatch import seen_operator
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.reference import ITERATION_MODULES, UNNAMED_METHODS
from fxbin.tracing.values.tensor import TracedTensor

_length = len  # while a model is traced, the built-in is another one


class Tracer(KeepsWhole):
    """Records one forward of `root`, in the mode its modules are in, into `graph`.

    `islands` are modules to keep whole, beside those of the classes `leaf_modules`.
    `running` is where `entry`, a part of `root`, is called from: names and paths are those of `root`,
    and `holdings` are what is known of them.
    `with_data` lets operators run on the content of inputs and parameters, so that code may look at
    it: the names of what ran are right, but the graph is good for these inputs only.
    """

    def __init__(
        self,
        root: nn.Module,
        leaf_modules: tuple[type[nn.Module], ...] = (),
        islands: frozenset[nn.Module] = frozenset(),
        *,
        entry: nn.Module | None = None,
        running: Scope = (),
        holdings: Holdings | None = None,
        with_data: bool = False,
    ) -> None:
        super().__init__(root, leaf_modules, islands, entry=entry, holdings=holdings, with_data=with_data)
        self._scopes = [running] if running else []
        self.stays: list[Stay] = []
        """The calls of modules, if there is data."""
        self.specialisations: list[Specialisation] = []
        self.specialised: list[nn.Module | None] = []
        """For each of them, the module whose code it is."""
        self.modes: dict[nn.Module, bool] = {}
        """The modules whose mode the code looks at, and what it is."""
        self.chance: list[str] = []
        """From where the code got random numbers of the system."""
        self.asks_for_dtypes = False
        """Whether the code does something else for another dtype of a tensor."""
        self.assigned: dict[nn.Module, str] = {}
        """The modules of which the code changes an attribute, which a graph does not, and its name."""
        self.reads = Reads(self.attributes.holdings)
        self._switched: set[nn.Module] = set()
        self._weight_checks: set[str] = set()
        self._finder = ScopeFinder()

    # What user code calls.

    def call_function(
        self,
        name: str,
        original: Callable[..., Any],
        args: Args,
        kwargs: Kwargs,
        *,
        tracked: bool,
        run: Callable[..., Any] | None = None,
    ) -> Any:
        """``torch.name(*args)`` or ``F.name(*args)``: named whatever its arguments are.

        `run` is what has that name now, if not `original`.
        """
        return self._record(Call("call_function", original, run or original, name, tracked), args, kwargs)

    def call_method(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``args[0].name(*args[1:])``: named where `args[0]` is tracked."""
        tracked = type(args[0]) is TracedTensor and args[0]._tracked and name not in UNNAMED_METHODS
        return self._record(Call("call_method", name, original, name, tracked), args, kwargs)

    def call_plain_method(self, name: str, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """A method reached through `Tensor` itself, or of a tensor that is no traced one: never named."""
        return self._record(Call("call_method", name, function, name, tracked=False), args, kwargs)

    def call_operator(
        self,
        name: str,
        function: Callable[..., Any],
        run: Callable[..., Any],
        receiver: TracedTensor,
        operands: Args,
    ) -> Any:
        """``receiver <op> operand``; for a reflected `name`, ``operand <op> receiver``."""
        reflected = name.startswith("__r") and name != "__rshift__"
        args = (*operands, receiver) if reflected else (receiver, *operands)
        op, tracked = seen_operator(name, receiver, operands)
        return self._record(Call("call_function", function, run, op, tracked), args, {})

    def compute(self, function: Callable[..., Any], args: Args) -> Any:
        """A computation on Python values or attributes, which the reference never sees."""
        call = Call("call_function", function, function, function.__name__, tracked=False)
        return self._record(call, args, {})

    def call_opaque(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``target(*args, **kwargs)`` as one node that nothing is named in; `run` tells shapes."""
        return self._record(Call("call_function", target, run, target.__name__, tracked=False), args, kwargs)

    def number_of(self, tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
        """``tensor.item()``, ``float(tensor)``: a number that the run will tell."""
        some = _some_number(tensor, read)
        node = self._node_of(tensor)
        is_item = read is Tensor.item
        read_out = (
            self.graph.call_method("item", (node,)) if is_item else self.graph.call_function(read, (node,))
        )
        return TracedValue(self, read_out, some, of_content=True)

    def device_of(self, tensor: TracedTensor) -> Any:
        """``tensor.device``: the model's, though nothing is there while tracing."""
        if self.knows_values:
            return self.attributes.device
        node = self.graph.call_function(getattr, (self._node_of(tensor), "device"))
        return TracedValue(self, node, self.attributes.device)

    def requires_grad_of(self, tensor: TracedTensor) -> Any:
        """``tensor.requires_grad``: as it is here for a parameter, as in a training step for others."""
        if self.knows_values:
            return False  # or torch would hang hooks of its layers on what is never differentiated
        node = self.graph.call_function(getattr, (self._node_of(tensor), "requires_grad"))
        # As with `is_grad_enabled`: what code does about it is meant for both cases.
        return TracedValue(self, node, tensor._requires_grad, guarded=tensor._source is not None)

    def add_hook(self, tensor: TracedTensor, hook: Callable[[Tensor], Any]) -> None:
        """``tensor.register_hook(hook)``: the hook is called whenever gradients are computed."""
        if self._inside is None:
            node = self._node_of(tensor)
            self.graph.call_function(register_hook, (node, self.attributes.fetch_object(hook, self.graph)))

    def rely_on_count(self, node: fx.Node, count: int) -> None:
        """Code works with the `count` tensors that `node` gives, and would go on otherwise with others."""
        found = self.note(f"len({node.name})", count)
        if found is not None:
            what = f"{found.expression} in {found.scope} ({found.location})"
            self.graph.call_function(check_count, (node, count, what))

    def specialise(self, value: TracedValue) -> Any:
        """Hand a traced value to Python; the graph checks at run time that it is still the same."""
        if value._of_content:
            raise ContentError(
                f"{describe(value._node)} is needed: it depends on the content of a tensor, which is known "
                "only when the model runs"
            )
        if is_about_weights(value._node, self.attributes.holdings.parameters):
            where = f"{'/'.join(map(str, self._scopes[-1]))} ({user_location() or 'unknown'})"
            what = f"{describe(value._node)} in {where}"
            if what not in self._weight_checks:
                self._weight_checks.add(what)
                self.graph.call_function(check_weights, (value._node, value._value, what))
            return value._value
        self.asks_for_dtypes |= is_about_dtypes(value._node)
        found = self.note(describe(value._node), value._value)
        if found is not None and value._guarded:
            what = f"{found.expression} in {found.scope} ({found.location})"
            self.graph.call_function(check_specialised, (value._node, found.value, what))
        return value._value

    def note(self, expression: str, value: Any) -> Specialisation | None:
        """Write down that the graph takes `expression` to be `value`; None if that is known."""
        scope = "/".join(map(str, self._scopes[-1])) if self._scopes else ""
        found = Specialisation(expression, value, scope, user_location() or "unknown")
        if found in self.specialisations:
            return None
        self.specialisations.append(found)
        self.specialised.append(self._scopes[-1][-1].module if self._scopes else None)
        return found

    def look_at_mode(self, module: nn.Module, mode: bool) -> None:
        """``module.training`` is read: the graph is good for this mode only, unless the code has set it."""
        if self._inside is None and module not in self._switched:
            self.modes.setdefault(module, mode)

    def switch_mode(self, module: nn.Module) -> None:
        """``module.training`` is set by the code."""
        if module not in self.modes:
            self._switched.add(module)

    def note_read(self, module: nn.Module, name: str, value: Any) -> None:
        """``module.name`` gives `value`: a graph goes by that, but one that is kept whole reads it itself."""
        if self._inside is None:
            self.reads.note(module, name, value)

    def note_assigned(self, module: nn.Module, name: str, value: Any) -> None:
        """``module.name = value``: what reads it before or after a graph would miss that."""
        self.reads.note_written(module, name)
        if module not in self.attributes.holdings.module_paths or name in ("training", *module._buffers):
            return
        if self.with_data and isinstance(vars(module).get(name), Tensor) and isinstance(value, Tensor):
            return  # a graph that reads it takes the tensor that is there when it runs
        self.assigned.setdefault(module, name)

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """``module.name = value``: a buffer keeps it for the next run."""
        if self._inside is not None or name not in module._buffers:
            return
        buffer, before = self.attributes.assigned(module, name)
        if buffer is None or value._source is buffer or value is before:
            return
        if before is not None:
            # Code may still hold the old content, which is about to be overwritten.
            before._node = self.graph.call_method("clone", (self._node_of(before),))
        target = self.attributes.fetch(buffer, self.graph)
        # From here on the value is the buffer: what is done to it in place is done to the buffer.
        node = self.graph.call_function(assign_buffer, (target, self._node_of(value)))
        if value._source is None:
            value._node = node
        self.attributes.assign(module, name, value)

    # Modules.

    def call_module(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """``module(*args, **kwargs)``: followed inside, or kept whole as one node."""
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            return original(module, *args, **kwargs)
        running = self._scopes[-1] if self._scopes else ()
        with paused():
            scope = self._finder.find(running, module)
        self._scopes.append(scope)
        is_stay = self.with_data and self._inside is None and not self._is_asked_for(module)
        stay = self._begin_stay(module, running, scope, args, kwargs) if is_stay else None
        try:
            if isinstance(module, torch.jit.ScriptModule):
                path = self.attributes.module_path(module)
                run = partial(run_on_ones, copy.deepcopy(module), module)
                return self._record(Call("call_module", path, run, "script", tracked=False), args, kwargs)
            if self._inside is not None:
                return original(module, *args, **kwargs)
            if not self.is_leaf(module):
                self.reads.follow(module)
                self._look_at_hooks(module)
                return original(module, *args, **kwargs)
            path = self.attributes.module_path(module)
            if not self._is_asked_for(module):
                return self._keep_whole("call_module", path, partial(original, module), args, kwargs)
            return self._call_asked_for(original, module, path, args, kwargs)
        except ContentError as error:
            error.module = error.module or module
            raise
        finally:
            if stay is not None:
                stay.end = len(self.ops)
            self._scopes.pop()
            if type(module).__name__ in ITERATION_MODULES:
                self._forget_counters(scope)

    def _begin_stay(
        self, module: nn.Module, running: Scope, scope: Scope, args: Args, kwargs: Kwargs
    ) -> Stay:
        path = self.attributes.module_path(module)
        caller = self.attributes.module_path(running[-1].module) if running else None
        with paused():
            given = map_nested(args, without_data), map_nested(kwargs, without_data)
        stay = Stay(path, caller, running, scope, given[0], given[1], begin=len(self.ops))
        self.stays.append(stay)
        return stay

    def _look_at_hooks(self, module: nn.Module) -> None:
        """Note or refuse what is hung on a module whose code is followed."""
        hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
        if hooks:
            names = ", ".join(getattr(hook, "__qualname__", type(hook).__name__) for hook in hooks)
            self.note("hooks, for what they do to tensors", names)
        if not self.with_data and (module._backward_hooks or module._backward_pre_hooks):
            raise TraceError(
                f"{'/'.join(map(str, self._scopes[-1]))} has backward hooks, which a graph of its operators "
                "cannot call: remove them, or keep the module whole with `leaf_modules`"
            )

    def _forget_counters(self, scope: Scope) -> None:
        path = "/".join(map(str, scope))
        for key in [key for key in self._counters if f"{key[0]}/".startswith(f"{path}/")]:
            del self._counters[key]


@speaks_for_user
def _some_number(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """What `read` gives for another tensor of this dtype. Raises RuntimeError as torch does."""
    with paused():
        if tensor._value.numel() != 1:
            raise RuntimeError(f"a tensor of shape {tuple(tensor._value.shape)} is no single number")
        return read(torch.ones((), dtype=tensor._value.dtype))
