"""From a model to a graph: what its forward does, on tensors without data."""

from fxbin.tracing.model_trace import Example, ModelTrace, told_apart, trace_model, with_other_calls
from fxbin.tracing.operands import specs
from fxbin.tracing.parts import Part
from fxbin.tracing.reads import MISSING, Read
from fxbin.tracing.record import Island, OpCall, Specialisation, TensorSpec, ops_of, spec_of
from fxbin.tracing.trace import Entry, Trace, dtypes_of, operators, trace

__all__ = [
    "MISSING",
    "Entry",
    "Example",
    "Island",
    "ModelTrace",
    "OpCall",
    "Part",
    "Read",
    "Specialisation",
    "TensorSpec",
    "Trace",
    "dtypes_of",
    "operators",
    "ops_of",
    "spec_of",
    "specs",
    "told_apart",
    "trace",
    "trace_model",
    "with_other_calls",
]
