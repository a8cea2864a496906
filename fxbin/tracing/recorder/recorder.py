"""Writes operators into a graph: what they are called with, what they give, where they ran."""

import operator
from collections import Counter
from collections.abc import Callable, Iterator, MappingView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx, nn

from fxbin.errors import TraceError
from fxbin.graph.containers import Attribute, leaves, maker, map_nested, parts, rebuilt
from fxbin.graph.record import OpCall, spec_of
from fxbin.graph.scope import Scope
from fxbin.original.holdings import Holdings
from fxbin.original.reach import holds_any
from fxbin.tracing.recorder.attributes import Attributes, traced
from fxbin.tracing.recorder.execute import common_device, execute
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.numbers import TracedSize, TracedValue
from fxbin.tracing.values.operands import Length, holds, is_of_content, map_results, origin_node, specs
from fxbin.tracing.values.reference import SAME_OBJECT, SPELLED_IN_TORCH_2_2
from fxbin.tracing.values.stand_ins import original_of
from fxbin.tracing.values.tensor import TracedTensor

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording

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
            node_args = self._nodes(tuple(map(_as_dtype, args)))
            node_kwargs = self._nodes({name: _as_dtype(item) for name, item in kwargs.items()})
            node = self.graph.create_node(call.kind, call.target, node_args, node_kwargs)
            node.meta.update(ops=ops, spec=specs(result))
            if call.op in _SPLITTING and not any(
                isinstance(x, list | tuple) for x in (*args, *kwargs.values())
            ):
                cast("Recording", self).rely_on_count(node, _length(result))
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
                cast("Recording", self), origin_node(origin), item, of_content=is_of_content(given)
            )

        return wrap

    def _tensors(self, items: Any) -> list[TracedTensor]:
        """The tensors in `items`, a stand-in for each plain one."""
        return [self._traced(item) for item in leaves(items) if isinstance(item, Tensor)]

    def _traced(self, tensor: Tensor) -> TracedTensor:
        return tensor if type(tensor) is TracedTensor else self.attributes.stand_in(tensor)

    def _values(self, items: Any) -> Any:
        """`items` as the operator is run on."""

        def value(item: Any) -> Any:
            if type(item) is TracedValue:
                return item._value
            return self._traced(item)._value if isinstance(item, Tensor) else original_of(item)

        return map_nested(items, value)

    def _nodes(self, items: Any) -> Any:
        """`items` as the graph holds them, with a node for each container that fx cannot spell."""
        kind = type(items)
        if kind is tuple or kind is list:
            return kind([self._nodes(x) for x in items])
        if kind is dict:
            return {key: self._nodes(x) for key, x in items.items()}
        inside = parts(items)
        if inside is None:
            return self._node_of(items)
        if kind is slice or kind is TracedSize or issubclass(kind, torch.Size):
            return rebuilt(items, [self._nodes(x) for x in inside.values()])
        if not isinstance(items, dict | list | tuple) and not holds(items, Tensor | TracedValue):
            return self._node_of(items)  # settings, or the like
        make, by_name = maker(items)
        nodes = {key: self._nodes(x) for key, x in inside.items()}
        if not by_name:
            return self.graph.call_function(make, tuple(nodes.values()))
        named = {key.name if type(key) is Attribute else key: node for key, node in nodes.items()}
        return self.graph.call_function(make, (), named)

    def _node_of(self, item: Any) -> Any:
        if type(item) is TracedValue:
            return item._node
        if isinstance(item, Tensor):
            return self.attributes.node(self._traced(item), self.graph)
        if isinstance(item, _SPELLED):
            return item
        item = original_of(item)
        reason = self._why_of_this_run(item)
        if reason:
            if self.with_data:
                return None  # the graph is never run
            raise TraceError(
                f"an object of type {type(item).__name__} {reason}, and a graph cannot make one in each: "
                "hand on tensors, or tuples, lists, dicts or dataclasses of them"
            )
        return self.attributes.fetch_object(item, self.graph)

    def _why_of_this_run(self, item: Any) -> str:
        """Why a graph must not refer to an object that code has handed on; empty if it may."""
        if isinstance(item, Iterator | MappingView):
            return "is good for this run"
        if isinstance(item, torch.Generator) and item not in self.attributes.holdings.generators:
            return "was made in this run"
        return "holds tensors of this run" if holds_any(item, (TracedTensor, TracedValue)) else ""

    def _item(self, parent: fx.Node, key: Any) -> fx.Node:
        if type(key) is Length:
            return self.graph.call_function(_length, (parent,))
        is_attribute = type(key) is Attribute
        function: Callable[..., Any] = getattr if is_attribute else operator.getitem
        node = self.graph.call_function(function, (parent, key.name if is_attribute else key))
        node.meta["spec"] = spec_of(parent)[key]
        return node


_SPELLED = (
    *(type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)),
    *(torch.dtype, torch.device, torch.memory_format, torch.layout, fx.Node),
)
"""What fx can write into the code that it generates."""


def _as_dtype(item: Any) -> Any:
    """`torch.float64` for ``float`` and so on, as torch takes these; fx cannot spell them."""
    return _DTYPES.get(original_of(item), item) if isinstance(item, type) else item


_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}

_SPLITTING = frozenset({"unbind", "split", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit"})
"""Operators that give as many tensors as a size allows."""


def _is_in_place(op: str) -> bool:
    if op.startswith("__"):
        return op.startswith("__i") and op != "__invert__"
    return op.endswith("_")


_RESPELLED = frozenset(op for _, op in SPELLED_IN_TORCH_2_2)
