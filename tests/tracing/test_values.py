"""Python values that user code asks for while it is traced."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.tracing.running import traced


class Numbers(nn.Module):
    """Asks for types of numbers in ways that look at more than what `int` and `float` give when called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        kinds: dict[type[int] | type[float], float] = {int: 2.0, float: 3.0}

        class Whole(int):
            pass

        match x.shape[0], x.mean().item():
            case (int(size), float(mean)):
                x = self.conv(x) * size + mean
        match x:
            case Tensor():
                x = x * kinds[type(x.shape[0])] * Whole(2)
        assert isinstance(x.shape[0], int | None)
        kind: Any = float
        return x + torch.ones(1, dtype=kind).to(kind).to(x.dtype)


def test_types_of_numbers_are_asked_for_in_every_way() -> None:
    model = Numbers()
    graph = traced(model, torch.zeros(2, 3, 4, 4))
    for size in (2, 5):
        x = torch.rand(size, 3, 4, 4)
        assert torch.equal(graph(x), model(x))
