"""Code that depends on the size of a batch, found by tracing a second one."""

from typing import Any

import torch
from torch import Tensor, nn

from fxbin.tracing.content import ContentError
from fxbin.tracing.operands import map_nested
from fxbin.tracing.record import Specialisation
from fxbin.tracing.tracer import Tracer


def relies_on_numbers(tracer: Tracer) -> bool:
    """Whether the graph is good for one value of some number only, which might be the size of a batch."""
    return any(type(found.value) is int for found, _ in _specialised(tracer))


def larger_batch(inputs: Any) -> Any:
    """`inputs` with one example more, without data."""

    def larger(item: Any) -> Any:
        if not isinstance(item, Tensor) or not item.dim():
            return item
        return torch.empty((item.shape[0] + 1, *item.shape[1:]), dtype=item.dtype, device="meta")

    return map_nested(inputs, larger)


def refuse_batch_size(small: Tracer, large: Tracer) -> None:
    """Raise ContentError where code relied on another number in a larger batch: it loops over examples."""
    values = {(found.expression, found.location, found.scope): found.value for found in large.specialisations}
    for found, module in _specialised(small):
        other = values.get((found.expression, found.location, found.scope), found.value)
        if type(found.value) is int and other != found.value:
            error = ContentError(
                f"the code runs as often as {found.expression} says, which depends on the size of the batch "
                f"(at {found.location})"
            )
            error.module, error.reason = module, str(error)
            raise error


def _specialised(tracer: Tracer) -> list[tuple[Specialisation, nn.Module | None]]:
    # What is found in attributes after the trace comes last, and belongs to no line of code.
    return list(zip(tracer.specialisations, tracer.specialised, strict=False))
