"""From a model to a graph: what its forward does, on tensors without data."""

from fxbin.tracing.operands import specs
from fxbin.tracing.record import OpCall, Specialisation, TensorSpec, ops_of, spec_of
from fxbin.tracing.trace import Trace, operators, trace

__all__ = [
    "OpCall",
    "Specialisation",
    "TensorSpec",
    "Trace",
    "operators",
    "ops_of",
    "spec_of",
    "specs",
    "trace",
]
