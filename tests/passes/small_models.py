"""The smallest models that show each case of a pass."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OneConv(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class TwiceCalled(OneConv):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(x))
        return y


class Branch(nn.Module):
    """Two convolutions on one input."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(2, 2, 1, bias=False)
        self.right = nn.Conv2d(2, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.left(x) + self.right(x)
        return y


class Functional(nn.Module):
    """A convolution without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(2, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, weight=self.kernel)


class NoConv(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class AuxiliaryHead(OneConv):
    """Has a second convolution in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.aux(y) if self.training else y
