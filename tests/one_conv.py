"""One convolution, and the kinds of it that a test of a host goes through."""

from typing import Any

from torch import Tensor, nn


class OneConv(nn.Module):
    """One convolution, with all that may stand around it."""

    def __init__(self, channels: int, filters: int, kernel: Any, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, **options)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y.relu()


CALL_SITES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((8, 16, 3), {"padding": 1}),
    ((3, 64, 7), {"padding": 3, "stride": 2, "bias": False}),
    ((16, 5, 1), {"stride": 2}),
    ((6, 4, (3, 2)), {"padding": "same", "dilation": (2, 3)}),
    ((6, 4, 3), {"padding": "valid"}),
    ((12, 8, 3), {"groups": 4, "padding": 2}),
    ((12, 24, 3), {"groups": 12, "padding": 1}),
    ((5, 4, 3), {"padding": 1, "padding_mode": "reflect"}),
    ((5, 4, 3), {"padding": (2, 1), "padding_mode": "circular"}),
    ((5, 4, 3), {"padding": 9}),
    ((3, 40, 7), {"padding": 3, "stride": 2, "bias": False}),
    ((6, 4, 5), {"padding": "valid"}),
    ((72, 9, (1, 5)), {"groups": 3, "padding": (0, 2)}),
    ((5, 4, 3), {"padding": 11}),
]
"""Positional and other arguments of `OneConv`, for inputs of 9x10."""
