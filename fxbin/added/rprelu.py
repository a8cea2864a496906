"""The activation of ReActNet."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
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
    # The type first: another tracer's proxy cannot be asked for more.
    if not (
        type(x) is Tensor and is_unseen(x.detach()) and x.dtype == gamma.dtype == zeta.dtype == beta.dtype
    ):
        return _rprelu(x, gamma, zeta, beta)
    engine = training_engine() if _is_for_engine(x, gamma, zeta, beta) else None
    if not torch.is_grad_enabled():
        return _values(engine, x, gamma, zeta, beta)
    # Not `_RPReLU.apply`: what it does in addition is for `torch.func`, and takes a third of its time.
    y: Tensor = super(Function, _RPReLU).apply(engine, x, gamma, zeta, beta)  # type: ignore[no-untyped-call]
    return y


class _RPReLU(Function):
    """The formula of `RPReLU` for ``(n, c, h, w)``, in one pass of the engine forward and one backward.

    Where the engine cannot compute them, the passes are operators that are fast on a CPU: the backward of
    `F.prelu` takes 20 times as long as its forward there.

    Backward:  with a = g where x > gamma, else 0, and b = g - a: of x, a + beta b; of gamma, minus its sum;
               of zeta, the sum of g; of beta, that of b (x - gamma); each sum per channel. It has a
               derivative, too.
    """

    @staticmethod
    def forward(
        ctx: Any, engine: Engine | None, x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor
    ) -> Tensor:
        ctx.engine = engine
        ctx.save_for_backward(x, gamma, beta)
        return _values(engine, x, gamma, zeta, beta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, gamma, beta), engine = grads, ctx.saved_tensors, ctx.engine
        if engine is not None and not torch.is_grad_enabled() and g.dtype == x.dtype and is_unseen(g):
            return None, *rprelu_gradients(engine, g, x, gamma, beta)
        shifted = x - _per_channel(gamma)
        above = torch.ops.aten.threshold_backward(g, shifted, 0)
        below = g - above
        sum_above, sum_below = _sum(above), _sum(below)
        grad_x = torch.addcmul(above, below, _per_channel(beta))
        grad_gamma = -(sum_above + beta * sum_below)
        return None, grad_x, grad_gamma, sum_above + sum_below, _sum(below * shifted.clamp(max=0))


def _values(engine: Engine | None, x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
    return _rprelu(x, gamma, zeta, beta) if engine is None else rprelu(engine, x, gamma, zeta, beta)


def _is_for_engine(x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> bool:
    """Whether the engine computes with these tensors, which have one dtype."""
    if x.dtype != torch.float32 or x.dim() != 4 or not (x.is_cpu and x.numel()):
        return False
    if not (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
        return False
    channels = x.shape[1]
    for each in (gamma, zeta, beta):
        if not each.is_cpu or each.numel() != channels or each.is_neg():
            return False
    return not torch.is_autocast_enabled("cpu")


def _rprelu(x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
    return F.prelu(x - _per_channel(gamma), beta) + _per_channel(zeta)


def _sum(x: Tensor) -> Tensor:
    return x.sum((0, 2, 3))


def _per_channel(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1)
