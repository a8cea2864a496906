"""Runs a model on tensors without data and writes what it does into a graph."""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.tracing.active import paused
from fxbin.tracing.attributes import Attributes, traced
from fxbin.tracing.dispatch import seen_operator
from fxbin.tracing.execute import common_device, execute
from fxbin.tracing.functions import UNNAMED_FUNCTIONS, UNNAMED_METHODS, op_name
from fxbin.tracing.guards import check_specialised, describe
from fxbin.tracing.location import user_location
from fxbin.tracing.operands import holds, map_nested, map_results, origin_node, plain_values, specs
from fxbin.tracing.record import OpCall, Specialisation
from fxbin.tracing.scope import Scope, ScopeFinder
from fxbin.tracing.tensor import TracedTensor
from fxbin.tracing.values import TracedValue

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


@dataclass(frozen=True)
class _Call:
    """One operator call, in the terms of fx."""

    kind: str
    """``"call_function"`` or ``"call_method"``."""

    target: Callable[..., Any] | str
    function: Callable[..., Any]
    """What runs to learn the result's shape; `target` names it."""

    op: str
    tracked: bool


class Tracer:
    """Records one forward of `root`, in the mode its modules are in, into `graph`."""

    def __init__(self, root: nn.Module, leaf_modules: tuple[type[nn.Module], ...] = ()) -> None:
        self.root = root
        self.graph = fx.Graph()
        self.attributes = Attributes(root)
        self.specialisations: list[Specialisation] = []
        self._leaf_modules = leaf_modules
        self._scopes: list[Scope] = []
        self._finder = ScopeFinder()
        self._counters: Counter[tuple[str, str, bool]] = Counter()
        self._inside: list[OpCall] | None = None
        """Operators seen so far in the module that is being kept whole; None outside of such."""

    # What user code calls.

    def call_function(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``torch.name(*args)`` or ``F.name(*args)``: named whatever its arguments are."""
        tracked = name not in UNNAMED_FUNCTIONS
        return self._record(
            _Call("call_function", original, original, op_name(name, kwargs), tracked), args, kwargs
        )

    def call_method(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``args[0].name(*args[1:])``: named where `args[0]` is tracked."""
        tracked = type(args[0]) is TracedTensor and args[0]._tracked and name not in UNNAMED_METHODS
        return self._record(_Call("call_method", name, original, name, tracked), args, kwargs)

    def call_operator(
        self, name: str, function: Callable[..., Any], receiver: TracedTensor, operands: Args
    ) -> Any:
        """``receiver <op> operand``; for a reflected `name`, ``operand <op> receiver``."""
        reflected = name.startswith("__r") and name != "__rshift__"
        args = (*operands, receiver) if reflected else (receiver, *operands)
        op, tracked = seen_operator(name, receiver, operands)
        return self._record(_Call("call_function", function, function, op, tracked), args, {})

    def compute(self, function: Callable[..., Any], args: Args) -> Any:
        """A computation on Python values or attributes, which the reference never sees."""
        call = _Call("call_function", function, function, function.__name__, tracked=False)
        return self._record(call, args, {})

    def device_of(self, tensor: TracedTensor) -> Any:
        """``tensor.device``: the model's, though nothing is there while tracing."""
        if self._inside is not None:
            return self.attributes.device
        node = self.graph.call_function(getattr, (self._node_of(tensor), "device"))
        return TracedValue(self, node, self.attributes.device)

    def specialise(self, value: TracedValue) -> Any:
        """Hand a traced value to Python; the graph checks at run time that it is still the same."""
        scope = self._scopes[-1] if self._scopes else ()
        found = Specialisation(
            describe(value._node), value._value, "/".join(map(str, scope)), user_location() or "unknown"
        )
        if found not in self.specialisations:
            self.specialisations.append(found)
            what = f"{found.expression} in {found.scope} ({found.location})"
            self.graph.call_function(check_specialised, (value._node, found.value, what))
        return value._value

    # Modules.

    def call_module(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """``module(*args, **kwargs)``: followed inside, or kept whole as one node."""
        self._scopes.append(self._finder.find(self._scopes[-1] if self._scopes else (), module))
        try:
            if self._inside is None and self.is_leaf(module):
                return self._keep_whole(original, module, args, kwargs)
            return original(module, *args, **kwargs)
        finally:
            self._scopes.pop()

    def is_leaf(self, module: nn.Module) -> bool:
        """Whether `module` stays one node: torch's own layers, and what the user asked for."""
        if module is self.root:
            return False
        if isinstance(module, self._leaf_modules):
            return True
        home = type(module).__module__
        return home.startswith("torch.nn.modules.") and home != "torch.nn.modules.container"

    def _keep_whole(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        node_args, node_kwargs = self._nodes(args), self._nodes(kwargs)
        self._inside = ops = []
        try:
            result = original(module, *plain_values(args), **plain_values(kwargs))
        finally:
            self._inside = None
        node = self.graph.create_node(
            "call_module", self.attributes.module_path(module), node_args, node_kwargs
        )
        node.meta.update(ops=tuple(ops), spec=specs(result))

        def attach(item: Any, origin: Any) -> Any:
            if type(item) is TracedTensor:
                item._node = origin_node(origin)
            return item

        return map_results(result, attach, node, self._item)

    # Recording.

    def _record(self, call: _Call, args: Args, kwargs: Kwargs) -> Any:
        with paused():
            tensors = self._tensors((args, kwargs))
            device = common_device(tensors)
            op = self._count(call)
            result = execute(call.op, call.function, self._values(args), self._values(kwargs), device)
            if not tensors and not holds((args, kwargs), TracedValue) and not holds(result, Tensor):
                return result
            if result is NotImplemented:
                return result
            wrap = self._wrapper(call, tensors)
            if self._inside is not None:
                self._inside.append(op)
                return map_results(result, wrap, None, self._item)
            node = self.graph.create_node(call.kind, call.target, self._nodes(args), self._nodes(kwargs))
            node.meta.update(ops=(op,), spec=specs(result))
            return map_results(result, wrap, node, self._item)

    def _count(self, call: _Call) -> OpCall:
        scope = self._scopes[-1] if self._scopes else ()
        key = ("/".join(map(str, scope)), call.op, call.tracked)
        self._counters[key] += 1
        return OpCall(scope, call.op, self._counters[key] - 1, call.tracked)

    def _wrapper(self, call: _Call, tensors: list[TracedTensor]) -> Callable[[Any, Any], Any]:
        """Turns the parts of a result into what user code gets."""

        def wrap(item: Any, origin: Any) -> Any:
            if isinstance(item, Tensor):
                if _is_in_place(call.op):
                    for tensor in tensors:
                        if tensor._value is item:
                            tensor._node = origin_node(origin) or tensor._node
                            tensor._tracked |= call.tracked
                            return tensor
                return traced(item, origin_node(origin), tracked=call.tracked)
            if origin is not None and isinstance(item, int | float | str | torch.dtype | torch.device):
                return TracedValue(self, origin_node(origin), item)
            return item

        return wrap

    def _tensors(self, items: Any) -> list[TracedTensor]:
        """The tensors in `items`, a stand-in for each plain one."""
        found: list[TracedTensor] = []
        map_nested(items, lambda item: found.append(self._traced(item)) if isinstance(item, Tensor) else None)
        return found

    def _traced(self, tensor: Tensor) -> TracedTensor:
        return tensor if type(tensor) is TracedTensor else self.attributes.stand_in(tensor)

    def _values(self, items: Any) -> Any:
        """`items` as the operator is run on."""

        def value(item: Any) -> Any:
            if type(item) is TracedValue:
                return item._value
            return self._traced(item)._value if isinstance(item, Tensor) else item

        return map_nested(items, value)

    def _nodes(self, items: Any) -> Any:
        """`items` as the graph holds them."""
        return map_nested(items, self._node_of)

    def _node_of(self, item: Any) -> Any:
        if type(item) is TracedValue:
            return item._node
        return self.attributes.node(self._traced(item), self.graph) if isinstance(item, Tensor) else item

    def _item(self, parent: fx.Node, key: Any) -> fx.Node:
        return self.graph.call_function(operator.getitem, (parent, key))


def _is_in_place(op: str) -> bool:
    if op.startswith("__"):
        return op.startswith("__i") and op != "__invert__"
    return op.endswith("_")
