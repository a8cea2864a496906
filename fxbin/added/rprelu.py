"""The activation of ReActNet."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from fxbin.added.layer import AddedLayer
from fxbin.engine.library import Engine, training_engine
from fxbin.engine.rprelu import rprelu, rprelu_gradients
from fxbin.onlookers import is_unseen

SLOPE = 0.25
"""Initial slope below the shift, as that of `nn.PReLU`."""


class RPReLU(AddedLayer):
    """A PReLU whose corner is learned, too, in each channel.

    Forward:   y = x - gamma + zeta where x > gamma, else beta (x - gamma) + zeta.
    Backward:  of this formula; at x = gamma as below it.

    Shapes:    x and y ``(n, c, h, w)``, or ``(c, h, w)`` if not `batched`; gamma, zeta, beta ``(c,)``.
    Units:     gamma has those of x, zeta those of y; beta has none.
    Start:     gamma = zeta = 0 and beta = 0.25, a PReLU.
    Source:    Liu et al. 2020, ReActNet, arXiv:2003.03488, eq. (4), where the channel has index i.
    """

    def __init__(self, channels: int, *, batched: bool = True) -> None:
        super().__init__()
        self.batched = batched
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.zeta = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.full((channels,), SLOPE))

    @override
    def forward(self, x: Tensor) -> Tensor:
        # F.prelu takes axis 1 for the channels. Not asked of x, as another tracer may record this.
        x = x if self.batched else x.unsqueeze(0)
        y = _in_one_step(x, self.gamma, self.zeta, self.beta)
        return y if self.batched else y.squeeze(0)

    @override
    def extra_repr(self) -> str:
        return f"{len(self.gamma)}"


def _in_one_step(x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
    """The formula of `RPReLU` for ``(n, c, h, w)``, in one autograd function unless somebody watches."""
    is_one_dtype = gamma.dtype == zeta.dtype == beta.dtype == x.dtype
    if not (is_one_dtype and type(x) is Tensor and is_unseen(x.detach())):
        return _rprelu(x, gamma, zeta, beta)
    if not torch.is_grad_enabled():
        return _values(x, gamma, zeta, beta)
    y: Tensor = _RPReLU.apply(x, gamma, zeta, beta)  # type: ignore[no-untyped-call]
    return y


class _RPReLU(torch.autograd.Function):
    """The formula of `RPReLU` for ``(n, c, h, w)``, in one pass of the engine forward and one backward.

    Where the engine cannot compute them, the passes are operators that are fast on a CPU: the backward of
    `F.prelu` takes 20 times as long as its forward there.

    Backward:  with a = g where x > gamma, else 0, and b = g - a: of x, a + beta b; of gamma, minus its sum;
               of zeta, the sum of g; of beta, that of b (x - gamma); each sum per channel. It has a
               derivative, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, gamma, beta)
        return _values(x, gamma, zeta, beta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (g,), (x, gamma, beta) = grads, ctx.saved_tensors
        if not torch.is_grad_enabled() and is_unseen(g) and (engine := _engine_for(x, g, gamma, beta)):
            return rprelu_gradients(engine, g, x, gamma, beta)
        shifted = x - _per_channel(gamma)
        above = torch.ops.aten.threshold_backward(g, shifted, 0)
        below = g - above
        sum_above, sum_below = _sum(above), _sum(below)
        grad_x = torch.addcmul(above, below, _per_channel(beta))
        grad_gamma = -(sum_above + beta * sum_below)
        return grad_x, grad_gamma, sum_above + sum_below, _sum(below * shifted.clamp(max=0))


def _values(x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
    engine = _engine_for(x, gamma, zeta, beta)
    return _rprelu(x, gamma, zeta, beta) if engine is None else rprelu(engine, x, gamma, zeta, beta)


def _engine_for(x: Tensor, *others: Tensor) -> Engine | None:
    """The engine, if it computes with these; all are on one device in one dtype."""
    if x.dtype != torch.float32 or not x.is_cpu or x.dim() != 4 or not x.numel():
        return None
    if not (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
        return None
    for each in others:
        if not each.is_cpu or each.dtype != torch.float32 or each.shape not in ((x.shape[1],), x.shape):
            return None
    return None if torch.is_autocast_enabled("cpu") else training_engine()


def _rprelu(x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
    return F.prelu(x - _per_channel(gamma), beta) + _per_channel(zeta)


def _sum(x: Tensor) -> Tensor:
    return x.sum((0, 2, 3))


def _per_channel(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1)
