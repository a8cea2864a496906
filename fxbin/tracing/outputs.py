"""How what a model returns becomes the output of its graph."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import GeneratorType
from typing import Any

from torch import Tensor

from fxbin.errors import TraceError
from fxbin.tracing.operands import holds, specs
from fxbin.tracing.record import OpCall
from fxbin.tracing.tensor import TracedTensor
from fxbin.tracing.tracer import Tracer
from fxbin.tracing.wholes import Restored


def add_output(tracer: Tracer, result: Any) -> None:
    """End the graph with `result`, whose containers keep their types."""
    tracked: list[Tensor] = []
    node = tracer.graph.output(_argument(tracer, result, tracked))
    node.meta["spec"] = specs(result)
    node.meta["ops"] = tuple(
        OpCall((), "nncf_model_output", index, tracked=True) for index in range(len(tracked))
    )


def _argument(tracer: Tracer, item: Any, tracked: list[Tensor]) -> Any:
    """`item` as an argument of a node, adding a call where fx cannot spell its container."""
    kind = type(item)
    if kind is TracedTensor:
        if item._tracked:
            tracked.append(item)
        return tracer._node_of(item)
    if is_dataclass(item) and not isinstance(item, type):
        values = {f.name: _argument(tracer, getattr(item, f.name), tracked) for f in fields(item)}
        return tracer.graph.call_function(_maker(item), (), values)
    if issubclass(kind, dict):
        content = {key: _argument(tracer, value, tracked) for key, value in item.items()}
        return content if kind is dict else tracer.graph.call_function(kind, (content,))
    if kind in (list, tuple):
        return kind(_argument(tracer, value, tracked) for value in item)
    if issubclass(kind, tuple):
        parts = [_argument(tracer, value, tracked) for value in tuple.__iter__(item)]
        return tracer.tuple_node(kind, parts)
    return _object(tracer, item)


def _maker(item: Any) -> Callable[..., Any]:
    """What makes a dataclass like `item` of its fields."""
    does_more = hasattr(item, "__post_init__") or not all(field.init for field in fields(item))
    # Dataclasses that are dicts too fill themselves there, and have no other way.
    return Restored(type(item)) if does_more and not isinstance(item, dict) else type(item)


def _object(tracer: Tracer, item: Any) -> Any:
    if isinstance(item, GeneratorType):
        raise TraceError(
            "forward gives a generator, whose code runs only when somebody asks for more: return a list"
        )
    if any(holds(value, TracedTensor) for value in getattr(item, "__dict__", {}).values()):
        if tracer.with_data:
            return None  # the graph is never run
        raise TraceError(
            f"the model returns tensors in a {type(item).__name__}, which a graph cannot make: "
            "return tensors, or tuples, dicts or dataclasses of them"
        )
    return tracer._node_of(item)
