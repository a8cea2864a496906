"""Finds code that depends on the size of a batch, by a second trace with a larger one."""

from typing import Any

import torch
from torch import Tensor, nn

from fxbin.graph.containers import map_nested
from fxbin.graph.record import Specialisation
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.content import ContentError


def relies_on_numbers(tracer: Tracer) -> bool:
    """Whether the graph relies on a value that may be the size of a batch."""
    return any(_may_be_batch(found) for found, _ in _specialised(tracer))


def _may_be_batch(found: Specialisation) -> bool:
    """Whether `found` is a number, or the result of a comparison with a first size."""
    if type(found.value) is bool:
        return any(spelled in found.expression for spelled in ("[0]", "len(", "(0)"))
    return type(found.value) is int


def larger_batch(inputs: Any) -> Any:
    """`inputs` with one more example in each tensor, on the meta device."""

    def larger(item: Any) -> Any:
        if not isinstance(item, Tensor) or not item.dim():
            return item
        return torch.empty((item.shape[0] + 1, *item.shape[1:]), dtype=item.dtype, device="meta")

    return map_nested(inputs, larger)


def refuse_batch_size(small: Tracer, large: Tracer) -> None:
    """Raise ContentError if code relied on another value in the larger batch, for example to loop over it."""
    values = {
        (found.expression, found.location, found.scope): found.value
        for found in large.assumptions.specialisations
    }
    for found, module in _specialised(small):
        other = values.get((found.expression, found.location, found.scope), found.value)
        if _may_be_batch(found) and other != found.value:
            what = f"runs as often as {found.expression} says"
            if type(found.value) is bool:
                what = f"branches over {found.expression}"
            error = ContentError(
                f"the code {what}, which depends on the size of the batch (at {found.location})"
            )
            error.module, error.reason = module, str(error)
            raise error


def _specialised(tracer: Tracer) -> list[tuple[Specialisation, nn.Module | None]]:
    # Those found in attributes after the trace come last, and do not belong to a line of code.
    return list(zip(tracer.assumptions.specialisations, tracer.assumptions.modules, strict=False))
