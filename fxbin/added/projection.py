"""What a shortcut consists of that has to change the number of channels."""

from torch import Tensor, nn
from typing_extensions import override

from fxbin.added.layer import AddedLayer


class Projection(AddedLayer):
    """A 1x1 convolution in full precision and a BatchNorm: ``(n, c, h, w)`` to ``(n, k, h, w)``.

    Source: He et al. 2015, arXiv:1512.03385, section 3.3, option B, where the stride is in the convolution.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    @override
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y
