"""From a model to a graph: what its forward does, on tensors without data."""

from fxbin.tracing.model_trace import ModelTrace, trace_model
from fxbin.tracing.operands import specs
from fxbin.tracing.parts import Part
from fxbin.tracing.record import Island, OpCall, Specialisation, TensorSpec, ops_of, spec_of
from fxbin.tracing.trace import Trace, operators, trace

__all__ = [
    "Island",
    "ModelTrace",
    "OpCall",
    "Part",
    "Specialisation",
    "TensorSpec",
    "Trace",
    "operators",
    "ops_of",
    "spec_of",
    "specs",
    "trace",
    "trace_model",
]
