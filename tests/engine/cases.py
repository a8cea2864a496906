"""Random two-level convolutions, and what they give by `F.conv2d` in float64."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Imported for what it declares: torch.ops.fxbin.
import fxbin.engine.operators  # noqa: F401
from fxbin.engine.binary_conv2d import ACTIVATIONS, BinaryConv2d
from fxbin.engine.signs import pack_signs

EXACT_LEVELS = ((0.0, 1.0), (-1.0, 1.0), (0.5, -0.25))
"""Products and sums of these are exact in float32."""


@dataclass
class Case:
    """Arguments of ``torch.ops.fxbin.binary_conv2d``, and the weight that was packed for them."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    weight: Tensor
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, kernel_name: str | None = None) -> Tensor:
        """The output of the operator."""
        y: Tensor = torch.ops.fxbin.binary_conv2d(
            *self.args, **self.kwargs, **self.options, kernel_name=kernel_name
        )
        return y

    def checked(self) -> BinaryConv2d:
        """The arguments in one object."""
        arguments: dict[str, Any] = {**self.kwargs, **self.options}
        return BinaryConv2d.of(*self.args, **arguments)

    def expected(self) -> Tensor:
        """The output in float64, from two-level tensors."""
        x, thresholds, x_levels, _, w_levels, bias = self.args
        low, high = x_levels.double()
        a = torch.where(x > thresholds.view(-1, 1, 1), high, low)
        w_low, w_high = w_levels.double().view(2, -1, 1, 1, 1)
        w = torch.where(self.weight > 0, w_high, w_low)
        top, bottom, left, right = self.kwargs["padding"]
        geometry = self.kwargs["stride"], 0, self.kwargs["dilation"], self.kwargs["groups"]
        padded = F.pad(a, (left, right, top, bottom))
        y = F.conv2d(padded, w, None if bias is None else bias.double(), *geometry)
        if "residual" in self.options:
            y = y + self.options["residual"]
        activation = self.options.get("activation")
        if activation in ("relu", "relu6", "hardtanh"):
            return getattr(F, activation)(y)  # type: ignore[no-any-return]
        slope = self.options.get("slope")
        return y if slope is None else torch.where(y < 0, y * slope.view(-1, 1, 1), y)


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """`count` convolutions of random shapes, layouts and levels."""
    choose = random.Random(seed)
    while count:
        case = _random_case(choose)
        if case is not None:
            count -= 1
            yield case


def _random_case(choose: random.Random) -> Case | None:
    groups = choose.choice([1, 1, 1, 2, 3, 8])
    channels = choose.choice([1, 2, 3, 5, 8, 16, 17, 30] + [64, 65, 100, 128] * (groups == 1))
    filters = choose.choice([1, 2, 3, 16, 31, 33, 64] + [65, 100, 256, 300] * (groups == 1))
    kernel, stride, dilation = ([choose.randint(1, most) for _ in range(2)] for most in (4, 3, 3))
    padding = [choose.randint(0, 4) for _ in range(4)]
    size = [choose.randint(1, 12) for _ in range(2)]
    for axis in range(2):
        if size[axis] + sum(padding[2 * axis : 2 * axis + 2]) < (kernel[axis] - 1) * dilation[axis] + 1:
            return None
    x = torch.randn(choose.choice([1, 1, 2, 3]), channels * groups, *size)
    if choose.random() < 0.5:
        x = x.contiguous(memory_format=torch.channels_last)
    thresholds = torch.randn(channels * groups) * 0.3 + choose.choice([-1, 0, 0.5])
    weight = torch.randn(filters * groups, channels, *kernel)
    levels = torch.tensor(choose.choice(EXACT_LEVELS))
    w_levels = torch.randint(-4, 5, (2, filters * groups)) / 4
    if w_levels[1, 0] > 0:  # in about half of the cases: levels around 0, as most networks have
        w_levels[0] = -w_levels[1]
    bias = torch.randint(-8, 9, (filters * groups,)) / 4 if choose.random() < 0.5 else None
    geometry = {
        "kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
    }  # fmt: skip
    case = Case((x, thresholds, levels, pack_signs(weight), w_levels, bias), geometry, weight)
    _add_options(case, choose)
    return case


def _add_options(case: Case, choose: random.Random) -> None:
    if choose.random() < 0.5:
        residual = torch.randint(-8, 9, case.expected().shape) / 4
        if choose.random() < 0.5:
            residual = residual.contiguous(memory_format=torch.channels_last)
        case.options["residual"] = residual
    case.options["activation"] = choose.choice(ACTIVATIONS)
    if case.options["activation"] == "prelu":
        case.options["slope"] = torch.randint(0, 4, (len(case.weight),)) / 4
