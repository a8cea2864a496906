"""Code that depends on the size of a batch, found by tracing a second one."""

from typing import Any

import torch
from torch import Tensor, nn

from fxbin.graph.containers import map_nested
from fxbin.graph.record import Specialisation
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.content import ContentError


def relies_on_numbers(tracer: Tracer) -> bool:
    """Whether the graph is good for one value of something only that might be the size of a batch."""
    return any(_may_be_batch(found) for found, _ in _specialised(tracer))


def _may_be_batch(found: Specialisation) -> bool:
    """A number, or the answer to a question about a first size."""
    if type(found.value) is bool:
        return any(spelled in found.expression for spelled in ("[0]", "len(", "(0)"))
    return type(found.value) is int


def larger_batch(inputs: Any) -> Any:
    """`inputs` with one example more, without data."""

    def larger(item: Any) -> Any:
        if not isinstance(item, Tensor) or not item.dim():
            return item
        return torch.empty((item.shape[0] + 1, *item.shape[1:]), dtype=item.dtype, device="meta")

    return map_nested(inputs, larger)


def refuse_batch_size(small: Tracer, large: Tracer) -> None:
    """Raise ContentError where code relied on another number in a larger batch: it loops over examples."""
    values = {
        (found.expression, found.location, found.scope): found.value for found in large.assumptions.found
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
    # What is found in attributes after the trace comes last, and belongs to no line of code.
    return list(zip(tracer.assumptions.found, tracer.assumptions.modules, strict=False))
