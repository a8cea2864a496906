"""The activation of ReActNet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from fxbin.added.layer import AddedLayer

SLOPE = 0.25
"""Initial slope below the shift, as that of `nn.PReLU`."""


class RPReLU(AddedLayer):
    """A PReLU whose corner is learned, too, in each channel.

    Forward:   y = x - gamma + zeta where x > gamma, else beta (x - gamma) + zeta.
    Backward:  of this formula, by autograd.

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
        y = F.prelu(x - _per_channel(self.gamma), self.beta) + _per_channel(self.zeta)
        return y if self.batched else y.squeeze(0)

    @override
    def extra_repr(self) -> str:
        return f"{len(self.gamma)}"


def _per_channel(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1)
