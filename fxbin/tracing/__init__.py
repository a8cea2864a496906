"""Traces models: runs their forward on tensors without data and records it as a graph."""

from fxbin.graph.record import Island, OpCall, Specialisation, TensorSpec, ops_of, spec_of
from fxbin.tracing.model_trace import (
    Example,
    ModelTrace,
    merge_extra_attributes,
    trace_model,
    with_other_calls,
)
from fxbin.tracing.parts import Part
from fxbin.tracing.recorder.questions import (
    OfArgument,
    OfHeld,
    OfState,
    Question,
    answer_about,
    is_same_answer,
)
from fxbin.tracing.recorder.reads import MISSING, Read
from fxbin.tracing.trace import Entry, Trace, dtypes_of, operators, trace
from fxbin.tracing.values.bugs import raise_bug
from fxbin.tracing.values.operands import specs

__all__ = [
    "MISSING",
    "Entry",
    "Example",
    "Island",
    "ModelTrace",
    "OfArgument",
    "OfHeld",
    "OfState",
    "OpCall",
    "Part",
    "Question",
    "Read",
    "Specialisation",
    "TensorSpec",
    "Trace",
    "answer_about",
    "dtypes_of",
    "is_same_answer",
    "merge_extra_attributes",
    "operators",
    "ops_of",
    "raise_bug",
    "spec_of",
    "specs",
    "trace",
    "trace_model",
    "with_other_calls",
]
