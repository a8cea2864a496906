"""A BatchNorm in front of a binarizer."""

from torch import Tensor, nn
from typing_extensions import override

from fxbin.added.layer import AddedLayer


class AddedNorm(AddedLayer):
    """A `nn.BatchNorm2d` at `norm`, so that it may be replaced by another, as for several processes.

    Source: Rastegari et al. 2016, XNOR-Net, arXiv:1603.05279, section 3.2: BatchNorm, binarize, convolve.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    @override
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y
