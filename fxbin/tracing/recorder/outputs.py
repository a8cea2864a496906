"""Turns what a model returns into the output of its graph."""

from types import GeneratorType
from typing import Any

from fxbin.errors import TraceError
from fxbin.graph.containers import leaves
from fxbin.graph.record import OpCall, set_ops, set_spec
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.operands import specs
from fxbin.tracing.values.tensor import TracedTensor

_length = len  # while a model is traced, the built-in is another one


def add_output(tracer: Tracer, result: Any) -> None:
    """Add the output node of `result`, whose containers keep their types."""
    if any(isinstance(item, GeneratorType) for item in leaves(result)):
        raise TraceError(
            "forward returns a generator, whose code runs only when its items are requested: return a list"
        )
    node = tracer.graph.output(tracer.recorder.nodes(result))
    set_spec(node, specs(result))
    tracked = [item for item in leaves(result) if type(item) is TracedTensor and item._tracked]
    indices = range(_length(tracked))
    set_ops(node, (OpCall((), "nncf_model_output", index, tracked=True) for index in indices))
