"""Gradients of binarizer parameters as means over the ranks, whatever is switched on."""

import torch
from torch import Tensor
from torch.autograd import Variable

from fxbin.binarizers.ranks import average_over_ranks, rank_count


class GradientMean:
    """Averages over the ranks the gradients that one backward brought to the parameters of binarizers.

    DistributedDataParallel cannot do it: while a binarizer is disabled its parameters get no gradient, and
    DDP waits for each parameter it knows. So it is told to leave them out (see `ignored_by_ddp`), and their
    gradients are averaged here at the end of each backward, all in one message. What gets no gradient keeps
    None, so an optimizer counts the same steps as in a single process. A gradient that is the same on all
    ranks already stays as it is, hence accumulation, `no_sync` and a second reduction do no harm.

    One object serves all binarizers of a model. Without torch.distributed it does nothing.

    Limits: the default process group; every rank must use the same binarizers in a backward.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, Tensor] = {}

    def note(self, parameter: Tensor) -> None:
        """A gradient has come to `parameter`: average it at the end of this backward."""
        if rank_count() > 1:
            self._arrived[id(parameter)] = parameter
            # For each one: if only the first did, a backward that broke off would stop all later ones.
            Variable._execution_engine.queue_callback(self._average)

    def __reduce__(self) -> tuple[type["GradientMean"], tuple[()]]:
        # A copy starts empty, whatever a backward that broke off has left here.
        return GradientMean, ()

    def _average(self) -> None:
        arrived, self._arrived = list(self._arrived.values()), {}
        with torch.no_grad():
            average_over_ranks(parameter.grad for parameter in arrived if parameter.grad is not None)
