"""Small residual networks for 28x28 images, which train in minutes on two CPU cores."""

from collections.abc import Sequence

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, as in He et al. 2015 (arXiv:1512.03385), figure 5 left.

    Shapes: x ``(n, in_channels, h, w)`` to ``(n, channels, h / stride, w / stride)``, rounded up.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block, after its last ReLU."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + shortcut)
        return out


class ResNetThin(nn.Module):
    """A ResNet with a 3x3 stem and few channels.

    Args:
        num_classes: Number of outputs of the last layer.
        in_channels: Channels of the images, 1 for grey images.
        widths: Channels of each group of blocks; every group but the first halves height and width.
        blocks: Number of blocks in each group, as many numbers as `widths`.

    Shapes: x ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``.
    Errors: ValueError if `widths` is empty, or `blocks` has another length.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        blocks: Sequence[int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(
                f"widths {tuple(widths)} and blocks {tuple(blocks)} must both have one entry for each group"
            )
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(2)
        channels = widths[0]
        self.layers = nn.Sequential()
        for position, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            group = nn.Sequential()
            for block in range(count):
                stride = 2 if position > 0 and block == 0 else 1
                group.append(BasicBlock(channels, width, stride))
                channels = width
            self.layers.append(group)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the class logits ``(n, num_classes)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layers(x)
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def resnet_thin(num_classes: int = 10, in_channels: int = 1) -> ResNetThin:
    """The network of the demo: 3 blocks, widths 16 to 64, 77 thousand parameters."""
    return ResNetThin(num_classes, in_channels)


def resnet18_thin(num_classes: int = 10, in_channels: int = 1, width: int = 16) -> ResNetThin:
    """ResNet-18's 8 blocks at a quarter of its width: 16 to 128, 701 thousand parameters.

    `width` is that of the first blocks; the others have 2, 4 and 8 times as much.
    """
    widths = (width, 2 * width, 4 * width, 8 * width)
    return ResNetThin(num_classes, in_channels, widths=widths, blocks=(2, 2, 2, 2))
