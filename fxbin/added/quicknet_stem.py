"""The first layers of QuickNet."""

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from fxbin.added.layer import AddedLayer


class QuickNetStem(AddedLayer):
    """Two convolutions with stride 2, the second one separable: ``(n, c, h, w)`` to ``(n, k, h / 4, w / 4)``.

    A 3x3 convolution to k / 4 channels, BatchNorm and ReLU; a depthwise 3x3 convolution, BatchNorm without
    weight and bias, a 1x1 convolution to k channels, BatchNorm. No activation follows.

    Start:     weights of the 3x3 and the 1x1 convolution as in He et al. 2015, arXiv:1502.01852, normal.
    Errors:    ValueError if k is no multiple of 4.
    Source:    Bannink et al. 2020, arXiv:2011.09398 (QuickNet), and its code in Larq Zoo.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        if out_channels % 4:
            raise ValueError(f"out_channels: expected a multiple of 4, got {out_channels}")
        inside = out_channels // 4
        self.conv = nn.Conv2d(channels, inside, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(inside)
        self.depthwise = nn.Conv2d(inside, inside, 3, 2, 1, groups=inside, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inside, affine=False)
        self.pointwise = nn.Conv2d(inside, out_channels, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(out_channels)
        for conv in (self.conv, self.pointwise):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    @override
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu(self.norm(self.conv(x)))
        y = self.depthwise_norm(self.depthwise(y))
        return self.pointwise_norm(self.pointwise(y))  # type: ignore[no-any-return]
