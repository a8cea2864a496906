"""Notes what a forward changes beyond the attributes of modules, which its graph does not do."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fxbin import torch_private
from fxbin.original.reach import holds_any
from fxbin.original.state_beyond import Change, StateBeyond
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor

_ELSEWHERE = frozenset(vars(nn.Module())) - {*torch_private.CALLED_HOOKS}


@contextmanager
def changes_beyond_noted(tracer: Tracer) -> Iterator[None]:
    """Note what the forward inside changes beyond attributes, and restore what belongs to the model alone.

    What it shares is restored only where it would keep tensors of the trace, because a flag that is set once
    (`_has_warned`) is set by the first run of the model, which this one may as well be.
    """
    before = StateBeyond(tracer.reached(), without=_ELSEWHERE)
    is_done = False
    try:
        yield
        is_done = True
    finally:
        changes = before.changes()
        is_traced = any(change.is_shared and _holds_traced(change) for change in changes)
        before.restore(shared=is_traced or not is_done)
    tracer.state.changed_beyond = [c.label for c in changes if is_traced or not c.is_shared]
    if not is_traced and any(change.is_shared for change in changes):
        tracer.state.changed_shared = before


def _holds_traced(change: Change) -> bool:
    kinds = (TracedTensor, TracedValue)
    return type(change.value) in kinds or holds_any(change.value, kinds)
