import pytest
import torch
from torch import nn

from fxbin.train.models import ResNetThin, resnet18_thin, resnet_thin


def test_sizes_are_those_the_docstrings_state() -> None:
    assert sum(p.numel() for p in resnet_thin().parameters()) == 77_754
    assert sum(p.numel() for p in resnet18_thin().parameters()) == 701_178


def test_any_picture_size_and_channel_count_gives_logits() -> None:
    model = ResNetThin(num_classes=7, in_channels=3, widths=(4, 8), blocks=(1, 2)).eval()
    assert model(torch.randn(2, 3, 20, 12)).shape == (2, 7)


def test_resnet18_thin_has_sixteen_convs_between_stem_and_classifier() -> None:
    kernels = [module.kernel_size for module in resnet18_thin().modules() if isinstance(module, nn.Conv2d)]
    assert kernels.count((3, 3)) == 1 + 16
    assert kernels.count((1, 1)) == 3


def test_groups_of_different_count_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"widths \(4, 8\) and blocks \(1,\) must both have one entry for each group"
    ):
        ResNetThin(widths=(4, 8), blocks=(1,))
