"""Gradients of binarizer parameters as means over the ranks, whatever is switched on."""

from typing import TYPE_CHECKING

import torch
from torch.autograd import Variable

from fxbin.binarizers.ranks import average_over_ranks, rank_count

if TYPE_CHECKING:
    from fxbin.binarizers.binarizer import Binarizer


class GradientMean:
    """Averages the gradients of the parameters of binarizers over the ranks, at the end of each backward.

    DistributedDataParallel cannot do it: while a binarizer is disabled its parameters get no gradient, and
    DDP waits for each parameter it knows. So it is told to leave them out (see `ignored_by_ddp`), and their
    gradients are averaged here, all in one message. What has no gradient on any rank keeps None, so an
    optimizer counts the same steps as in a single process. What has one on some ranks counts as 0 on the
    others, as in DDP. A gradient that is the same on all ranks already stays as it is, hence accumulation,
    `no_sync` and a second reduction do no harm.

    Then ranks agree on the scales that each of them has started alone, if there are any: see `own_start`.

    One object serves all binarizers of a model. Without torch.distributed it does nothing.

    Limits: the default process group; in each backward either every rank uses some binarizer, or none does.
    """

    def __init__(self) -> None:
        self._binarizers: list[Binarizer] = []
        self._is_due = False

    def add(self, binarizer: "Binarizer") -> None:
        """Average for `binarizer`, too. Ranks must add the same ones in the same order."""
        self._binarizers.append(binarizer)

    def note(self) -> None:
        """A gradient has come to one of the parameters: average all at the end of this backward."""
        if rank_count() > 1:
            self._is_due = True
            # For each one: if only the first did, a backward that broke off would stop all later ones.
            Variable._execution_engine.queue_callback(self._average)

    def __reduce__(self) -> tuple[type["GradientMean"], tuple[()]]:
        # A copy starts empty: the copies of the binarizers add themselves.
        return GradientMean, ()

    def _average(self) -> None:
        if self._is_due:
            self._is_due = False
            with torch.no_grad():
                self._average_gradients()
                self._agree_on_starts()

    def _average_gradients(self) -> None:
        # All of them, as code may have used a binarizer on one rank only: messages must be of one length.
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
