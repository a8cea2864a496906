"""Counts of activations that fire, as the engine makes them and as operators do."""

import pytest
import torch
from torch import Tensor

from fxbin.binarizers.firing import FiringCount
from fxbin.engine.library import Engine

CPU = torch.device("cpu")


def laid_out(x: Tensor, layout: str) -> Tensor:
    """`x` in the layout of this name; ``"cut"`` is part of a larger tensor."""
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "cut":
        return torch.nn.functional.pad(x, (1, 2, 0, 1))[..., :-1, 1:-2]
    return x


@pytest.mark.parametrize("layout", ["planar", "channels_last", "cut"])
@pytest.mark.parametrize("size", [(3, 5, 9, 8), (2, 600, 2, 3), (4, 7, 1, 1)], ids=str)
def test_the_engine_counts_what_is_above_the_threshold_of_its_channel(
    built: Engine, size: tuple[int, ...], layout: str
) -> None:
    x, threshold = torch.randn(size), torch.randn(1, size[1], 1, 1)
    x[0, 0, 0, 0], x[1, 1, 0, 0] = torch.nan, threshold[0, 1, 0, 0]
    own = FiringCount(size[1], CPU)
    for _ in range(2):
        own.add_above(built, laid_out(x, layout), threshold)
    assert own.fired.tolist() == (2 * (x > threshold).sum((0, 2, 3))).tolist()
    assert own.counted.item() == 2 * x[:, 0].numel()


def test_one_threshold_may_be_that_of_all_channels(built: Engine) -> None:
    x, own = torch.randn(2, 3, 4, 4), FiringCount(3, CPU)
    own.add_above(built, x, torch.full((1, 1, 1, 1), 0.5, requires_grad=True))
    assert own.fired.tolist() == (x > 0.5).sum((0, 2, 3)).tolist()
