"""Records operator calls as nodes of a graph."""

import operator
from collections.abc import Callable, Iterator, MappingView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from fxbin.errors import TraceError
from fxbin.graph.containers import Attribute, leaves, maker, map_nested, parts, rebuilt
from fxbin.graph.record import set_ops, set_spec, spec_of
from fxbin.original.reach import holds_any
from fxbin.tracing.recorder.assumptions import Assumptions
from fxbin.tracing.recorder.attributes import Attributes, traced
from fxbin.tracing.recorder.execute import common_device, execute
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.numbers import TracedSize, TracedValue
from fxbin.tracing.values.operands import Length, holds, is_of_content, map_results, origin_node, specs
from fxbin.tracing.values.reference import SAME_OBJECT
from fxbin.tracing.values.stand_ins import original_of
from fxbin.tracing.values.tensor import TracedTensor

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording

_length = len  # while a model is traced, the built-in is another one
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call that is to become a node."""

    kind: str
    """``"call_function"`` or ``"call_method"``."""

    target: Callable[..., Any] | str
    """The target of the node."""

    function: Callable[..., Any]
    """The function that runs to learn the shape of the result."""

    op: str
    """The operator as the code spelled it: ``"relu_"``."""

    tracked: bool
    """Whether NNCF names the operator."""


class Recorder:
    """Extends the graph of one forward by the operators that the code calls.

    `recording` is the tracer that traced values call; `position` knows the running module.
    """

    def __init__(
        self, recording: "Recording", attributes: Attributes, position: Position, assumptions: Assumptions
    ) -> None:
        self._recording = recording
        self._attributes, self._position, self._assumptions = attributes, position, assumptions
        self.graph = recording.graph

    def record(self, call: Call, args: Args, kwargs: Kwargs) -> Any:
        """Run `call` on the values of `args` and `kwargs`, record its node, and return the traced result."""
        with paused():
            tensors = self._tensors((args, kwargs))
            device = common_device(call.op, tensors, self._attributes.data_device)
            ops = self._position.count(call.op, tracked=call.tracked)
            values = self.values(args), self.values(kwargs)
            result = execute(call.op, call.function, *values, device, with_data=self._position.with_data)
            if not tensors and not holds((args, kwargs), TracedValue) and not holds(result, Tensor):
                return result
            if result is NotImplemented:
                return result
            wrap = self._wrapper(call, tensors, (args, kwargs))
            if self._position.inner_ops is not None:
                self._position.inner_ops.extend(ops)
                return map_results(result, wrap, None, self.item)
            node_args = self.nodes(tuple(map(_as_dtype, args)))
            node_kwargs = self.nodes({name: _as_dtype(item) for name, item in kwargs.items()})
            node = self.graph.create_node(call.kind, call.target, node_args, node_kwargs)
            set_ops(node, ops)
            set_spec(node, specs(result))
            if call.op in _SPLITTING and not any(
                isinstance(x, list | tuple) for x in (*args, *kwargs.values())
            ):
                self._assumptions.rely_on_count(node, _length(result))
            return map_results(result, wrap, node, self.item)

    def _wrapper(
        self, call: Call, tensors: list[TracedTensor], given: tuple[Args, Kwargs]
    ) -> Callable[[Any, Any], Any]:
        """A function that turns an item of a result into what user code gets."""
        learns = (
            torch.is_grad_enabled()
            and call.op not in _NOT_LEARNING
            and any(x._requires_grad for x in tensors)
            and not (call.op == "getattr" and given[0][1] == "data")
        )

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
                made._requires_grad = learns and (item.is_floating_point() or item.is_complex())
                for tensor in tensors:
                    if tensor._value is item:  # as for `to` without a change
                        made._requires_grad = tensor._requires_grad
                return made
            if type(item) is str:
                item = self._type_on_device(item)
            if self._position.knows_values or item is None:
                return item
            return self.value(origin_node(origin), item, of_content=is_of_content(given))

        return wrap

    def _type_on_device(self, name: str) -> str:
        """The name of a type of tensors, such as ``"torch.FloatTensor"``, on the device of the model."""
        device = self._attributes.device.type
        return name.replace("torch.meta.", "torch." if device == "cpu" else f"torch.{device}.")

    def value(self, node: Any, value: Any, *, of_content: bool) -> TracedValue:
        """A traced value for user code: `value`, which `node` computes."""
        return TracedValue(self._recording, node, value, of_content=of_content)

    def _tensors(self, items: Any) -> list[TracedTensor]:
        """The tensors in `items`, with stand-ins in place of plain tensors."""
        return [self._traced(item) for item in leaves(items) if isinstance(item, Tensor)]

    def _traced(self, tensor: Tensor) -> TracedTensor:
        return tensor if type(tensor) is TracedTensor else self._attributes.stand_in(tensor)

    def values(self, items: Any) -> Any:
        """`items` with plain values in place of traced ones, to run an operator on."""

        def value(item: Any) -> Any:
            if type(item) is TracedValue:
                return item._value
            return self._traced(item)._value if isinstance(item, Tensor) else original_of(item)

        return map_nested(items, value)

    def nodes(self, items: Any) -> Any:
        """`items` with nodes in place of tensors and traced values, and of containers fx cannot write."""
        kind = type(items)
        if kind is tuple or kind is list:
            return kind([self.nodes(x) for x in items])
        if kind is dict:
            return {key: self.nodes(x) for key, x in items.items()}
        inside = parts(items)
        if inside is None:
            return self.node_of(items)
        if kind is slice or kind is TracedSize or issubclass(kind, torch.Size):
            return rebuilt(items, [self.nodes(x) for x in inside.values()])
        if not isinstance(items, dict | list | tuple) and not holds(items, Tensor | TracedValue):
            return self.node_of(items)  # a dataclass of settings, for example
        make, by_name = maker(items)
        nodes = {key: self.nodes(x) for key, x in inside.items()}
        if not by_name:
            return self.graph.call_function(make, tuple(nodes.values()))
        named = {key.name if type(key) is Attribute else key: node for key, node in nodes.items()}
        return self.graph.call_function(make, (), named)

    def node_of(self, item: Any) -> Any:
        """The argument of a node for `item`, which is not a container: a node, or a plain value."""
        if type(item) is TracedValue:
            return item._node
        if isinstance(item, Tensor):
            return self._attributes.node(self._traced(item), self.graph)
        if isinstance(item, _SPELLED):
            return item
        item = original_of(item)
        reason = self._why_of_this_run(item)
        if reason:
            if self._position.with_data:
                return None  # the graph is never run
            raise TraceError(
                f"an object of type {type(item).__name__} {reason}, and a graph cannot make one in each run: "
                "pass tensors, or tuples, lists, dicts or dataclasses of them"
            )
        return self._attributes.fetch_object(item, self.graph)

    def _why_of_this_run(self, item: Any) -> str:
        """Why a graph must not refer to the object `item`, which code has passed on; empty if it may."""
        if isinstance(item, Iterator | MappingView):
            return "is valid for this run only"
        if isinstance(item, torch.Generator) and item not in self._attributes.inventory.generators:
            return "was made in this run"
        return "holds tensors of this run" if holds_any(item, (TracedTensor, TracedValue)) else ""

    def item(self, parent: fx.Node, key: Any) -> fx.Node:
        """A new node of the item `key` of the value of `parent`."""
        if type(key) is Length:
            return self.graph.call_function(_length, (parent,))
        is_attribute = type(key) is Attribute
        function: Callable[..., Any] = getattr if is_attribute else operator.getitem
        node = self.graph.call_function(function, (parent, key.name if is_attribute else key))
        set_spec(node, spec_of(parent)[key])
        return node


_SPELLED = (
    *(type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)),
    *(torch.dtype, torch.device, torch.memory_format, torch.layout, fx.Node),
)
"""Types whose values fx can write into the code that it generates."""


def _as_dtype(item: Any) -> Any:
    """`torch.float64` for ``float`` and so on, as torch understands it; fx cannot write these types."""
    return _DTYPES.get(original_of(item), item) if isinstance(item, type) else item


_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}

_SPLITTING = frozenset({"unbind", "split", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit"})
"""Operators that give a number of tensors that depends on a size."""


_NOT_LEARNING = frozenset(
    {
        "detach", "detach_", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
        "randint_like", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "bernoulli",
        "heaviside",
    }
)  # fmt: skip
"""Operators whose result never requires a gradient."""


def _is_in_place(op: str) -> bool:
    if op.startswith("__"):
        return op.startswith("__i") and op != "__invert__"
    return op.endswith("_")
