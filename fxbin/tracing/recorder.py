"""Writes operators into a graph: what they are called with, what they give, where they ran."""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx, nn

from fxbin.tracing.active import paused
from fxbin.tracing.attributes import Attributes, traced
from fxbin.tracing.execute import common_device, execute
from fxbin.tracing.holdings import Holdings
from fxbin.tracing.operands import (
    Attribute,
    Length,
    holds,
    is_of_content,
    map_nested,
    map_results,
    origin_node,
    specs,
)
from fxbin.tracing.record import OpCall, spec_of
from fxbin.tracing.reference import SAME_OBJECT, SPELLED_IN_TORCH_2_2
from fxbin.tracing.scope import Scope
from fxbin.tracing.tensor import TracedTensor
from fxbin.tracing.values import TracedValue

if TYPE_CHECKING:
    from fxbin.tracing.tracer import Tracer

_length = len  # while a model is traced, the built-in is another one
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call, in the terms of fx."""

    kind: str
    """``"call_function"`` or ``"call_method"``."""

    target: Callable[..., Any] | str
    function: Callable[..., Any]
    """What runs to learn the result's shape; `target` names it."""

    op: str
    tracked: bool


class Recorder:
    """The graph of one forward of `root`, of which `holdings` are known, and what is needed to extend it."""

    def __init__(self, root: nn.Module, holdings: Holdings | None = None, *, with_data: bool) -> None:
        self.root = root
        self.with_data = with_data
        self.graph = fx.Graph()
        self.attributes = Attributes(holdings or Holdings(root), with_data=with_data)
        self._scopes: list[Scope] = []
        self._counters: Counter[tuple[str, str, bool]] = Counter()
        self._followed = ""
        """The function that is being kept whole, if it is one."""
        self._inside: list[OpCall] | None = None
        """Operators seen so far in the module that is being kept whole; None outside of such."""
        self.ops: list[OpCall] = []
        """All operators so far, if there is data."""

    @property
    def is_inside(self) -> bool:
        """Whether the running code is part of what becomes one node."""
        return self._inside is not None

    @property
    def knows_values(self) -> bool:
        """Whether code gets sizes and other Python values as they are: no graph is made, or none to run."""
        return self._inside is not None or self.with_data

    def _record(self, call: Call, args: Args, kwargs: Kwargs) -> Any:
        with paused():
            tensors = self._tensors((args, kwargs))
            device = common_device(call.op, tensors, self.attributes.home)
            ops = self._count(call)
            values = self._values(args), self._values(kwargs)
            result = execute(call.op, call.function, *values, device, with_data=self.with_data)
            if not tensors and not holds((args, kwargs), TracedValue) and not holds(result, Tensor):
                return result
            if result is NotImplemented:
                return result
            wrap = self._wrapper(call, tensors, (args, kwargs))
            if self._inside is not None:
                self._inside.extend(ops)
                return map_results(result, wrap, None, self._item)
            node = self.graph.create_node(call.kind, call.target, self._nodes(args), self._nodes(kwargs))
            node.meta.update(ops=ops, spec=specs(result))
            if call.op in _SPLITTING and not any(
                isinstance(x, list | tuple) for x in (*args, *kwargs.values())
            ):
                cast("Tracer", self).rely_on_count(node, _length(result))
            return map_results(result, wrap, node, self._item)

    def _count(self, call: Call) -> tuple[OpCall, ...]:
        scope = self._scopes[-1] if self._scopes else ()
        path = "/".join(map(str, scope))
        spelled = [call.op]
        if call.op in _RESPELLED:
            owner = self._followed or (type(scope[-1].module).__name__ if scope else "")
            spelled = list(SPELLED_IN_TORCH_2_2.get((owner, call.op), spelled))
        ops = []
        for name in spelled:
            key = (path, name, call.tracked)
            self._counters[key] += 1
            ops.append(OpCall(scope, name, self._counters[key] - 1, call.tracked))
        if self.with_data:
            self.ops += ops
        return tuple(ops)

    def _wrapper(
        self, call: Call, tensors: list[TracedTensor], given: tuple[Args, Kwargs]
    ) -> Callable[[Any, Any], Any]:
        """Turns the parts of a result into what user code gets."""
        learns = call.op != "detach" and torch.is_grad_enabled() and any(x._requires_grad for x in tensors)

        def wrap(item: Any, origin: Any) -> Any:
            if isinstance(item, Tensor):
                if _is_in_place(call.op):
                    for tensor in tensors:
                        if tensor._value is item:
                            tensor._node = origin_node(origin) or tensor._node
                            tensor._tracked |= call.tracked
                            return tensor
                tracked = call.tracked or (call.op in SAME_OBJECT and tensors[0]._tracked)
                made = traced(item, origin_node(origin), tracked=tracked)
                made._requires_grad = learns and item.is_floating_point()
                return made
            if self.knows_values or item is None:
                return item
            return TracedValue(
                cast("Tracer", self), origin_node(origin), item, of_content=is_of_content(given)
            )

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
        return map_nested(items, self._node_of, self.tuple_node)

    def tuple_node(self, kind: type, items: list[Any]) -> Any:
        """A tuple of a type of its own, as the graph holds it.

        A named one is made by a node of its own: inside of lists, dicts and what a graph returns, fx writes
        its name into the code without importing it.
        """
        return self.graph.call_function(kind, tuple(items)) if hasattr(kind, "_fields") else tuple(items)

    def _node_of(self, item: Any) -> Any:
        if type(item) is TracedValue:
            return item._node
        if isinstance(item, Tensor):
            return self.attributes.node(self._traced(item), self.graph)
        return item if isinstance(item, _SPELLED) else self.attributes.fetch_object(item, self.graph)

    def _item(self, parent: fx.Node, key: Any) -> fx.Node:
        if type(key) is Length:
            return self.graph.call_function(_length, (parent,))
        function: Callable[..., Any] = operator.getitem
        if type(key) is Attribute:
            function, key = getattr, key.name
        node = self.graph.call_function(function, (parent, key))
        node.meta["spec"] = spec_of(parent)[key]
        return node


_SPELLED = (
    *(type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)),
    *(torch.dtype, torch.device, torch.memory_format, torch.layout, fx.Node, type),
)
"""What fx can write into the code that it generates."""


_SPLITTING = frozenset({"unbind", "split", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit"})
"""Operators that give as many tensors as a size allows."""


def _is_in_place(op: str) -> bool:
    if op.startswith("__"):
        return op.startswith("__i") and op != "__invert__"
    return op.endswith("_")


_RESPELLED = frozenset(op for _, op in SPELLED_IN_TORCH_2_2)
