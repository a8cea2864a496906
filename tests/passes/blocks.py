"""Small blocks of networks, for tests of rewrites."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Residual(nn.Module):
    """The basic block of ResNet."""

    def __init__(self, inputs: int = 2, outputs: int = 2, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) if stride > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


class PreActivated(nn.Module):
    """The basic block of He et al. 2016, with norms in front of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(2), conv(2, 2)
        self.bn2, self.conv2 = nn.BatchNorm2d(2), conv(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return F.relu(y + x)


class Bottleneck(nn.Module):
    """The block of ResNet-50, with fewer channels inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(4, 2, 1), nn.BatchNorm2d(2)
        self.conv2, self.bn2 = conv(2, 2), nn.BatchNorm2d(2)
        self.conv3, self.bn3 = conv(2, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + x)


class Plain(nn.Module):
    """Convolution, norm and ReLU, without a sum."""

    def __init__(self, inputs: int = 2, outputs: int = 2, kernel: int = 3, **options: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, **{"padding": kernel // 2, **options})  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Dropping(Residual):
    """Scales the branch at random in train mode, as stochastic depth does."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.training:
            y = y * torch.rand(len(y), 1, 1, 1)
        return F.relu(y + x)
