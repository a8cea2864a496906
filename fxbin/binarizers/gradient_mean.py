"""Averages of binarizers' gradients over the ranks, also for binarizers that are switched off."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarizers.ranks import average_over_ranks, rank_count


class Averaged(Protocol):
    """What is averaged of a `Binarizer`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters whose gradients are averaged."""
        ...

    def own_start(self) -> Tensor | None:
        """Values that this rank has initialized alone, in one row; None if there are none."""
        ...

    def take_start(self, start: Tensor) -> None:
        """Set what `own_start` gave to what the ranks have agreed on."""
        ...


class GradientMean:
    """Averages the gradients of the parameters of binarizers over the ranks, at the end of each backward.

    DistributedDataParallel cannot do it: the parameters of a disabled binarizer get no gradient, and DDP
    waits for the gradient of every parameter it knows. So DDP ignores them (see `ignored_by_ddp`), and their
    gradients are averaged here, all in one message. A parameter without a gradient on any rank keeps None, so
    an optimizer counts the same steps as in a single process. A parameter with a gradient on some ranks
    counts as 0 on the others, as in DDP. A gradient that is already equal on all ranks stays as it is, so
    gradient accumulation, `no_sync` and a second reduction do no harm.

    Afterwards the ranks agree on scales that each has initialized alone, if there are any: see `own_start`.

    All binarizers of a model share one object. Without torch.distributed it does nothing.

    Limits: the default process group; in each backward either every rank uses some binarizer, or none does.
    """

    def __init__(self) -> None:
        self._binarizers: list[Averaged] = []
        self._is_due = False

    def add(self, binarizer: Averaged) -> None:
        """Average the gradients of `binarizer` as well; all ranks must add the same in the same order."""
        self._binarizers.append(binarizer)

    def note(self) -> None:
        """Average all gradients at the end of this backward; called after a parameter got its gradient."""
        if rank_count() > 1:
            self._is_due = True
            # Queued for each gradient: if only the first one queued, `_is_due` would remain set after a
            # backward that failed, and no later one would queue.
            torch_private.queue_callback(self._average)

    def __reduce__(self) -> tuple[type["GradientMean"], tuple[()]]:
        # A copy starts empty, because the copies of the binarizers add themselves.
        return GradientMean, ()

    def _average(self) -> None:
        if self._is_due:
            self._is_due = False
            with torch.no_grad():
                self._average_gradients()
                self._agree_on_starts()

    def _average_gradients(self) -> None:
        # All parameters, since a binarizer may have run on some ranks only and messages must be equally long.
        parameters = [parameter for binarizer in self._binarizers for parameter in binarizer.parameters()]
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        shares = torch.tensor([float(p.grad is not None) for p in parameters], device=found[0].device)
        average_over_ranks([*found, shares])
        missing = [
            (p, grad, i) for i, (p, grad) in enumerate(zip(parameters, found, strict=True)) if p.grad is None
        ]
        if missing:
            known = shares.tolist()
            for parameter, grad, index in missing:
                parameter.grad = grad if known[index] else None

    def _agree_on_starts(self) -> None:
        starts = [(b, start) for b in self._binarizers if (start := b.own_start()) is not None]
        if starts:
            shares = torch.stack([start.any() for _, start in starts]).float()
            average_over_ranks([*(start for _, start in starts), shares])
            for (binarizer, start), share in zip(starts, shares.tolist(), strict=True):
                if share:
                    binarizer.take_start(start / share)
