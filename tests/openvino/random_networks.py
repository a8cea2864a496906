"""Random networks: a number determines one, the same every time."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Step(nn.Module):
    """One operation on some of the values that are there."""

    def __init__(self, sources: Sequence[int], run: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.sources, self.run, self.parts = list(sources), run, nn.ModuleList(parts)

    def forward(self, values: list[Tensor]) -> Any:
        return self.run(*self.parts, *(values[index] for index in self.sources))


class RandomNetwork(nn.Module):
    """Steps over a growing list of values, the first of which are the inputs."""

    def __init__(self, steps: Sequence[Step], outputs: Sequence[int], as_dict: bool) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.outputs, self.as_dict = list(outputs), as_dict

    def forward(self, x: Tensor, extra: Tensor) -> Any:
        values = [x, extra]
        for step in self.steps:
            values.append(step(values))
        found = [values[index] for index in self.outputs]
        return (
            {f"y{index}": y for index, y in zip(self.outputs, found, strict=True)} if self.as_dict else found
        )


@dataclass(frozen=True)
class Drawn:
    """A network and how to export it."""

    network: RandomNetwork
    inputs: tuple[Tensor, Tensor]
    mode: str
    params: dict[str, Any]
    options: dict[str, Any]
    """Of `fxbin.export_onnx`."""


def draw(seed: int, length: int = 9) -> Drawn:
    """The network number `seed`, of at least `length` steps; its last output depends on a convolution."""
    dice = random.Random(seed)
    torch.manual_seed(seed)
    batch, size = dice.choice([1, 1, 2]), dice.choice([9, 12, 16])
    inputs = (torch.randn(batch, 8, size, size), torch.randn(batch, dice.choice([3, 8, 12]), size, size))
    with torch.no_grad():
        steps, values = _draw_steps(dice, inputs, length)
    last = range(len(values) - dice.choice([1, 1, 2, 3]), len(values))
    return Drawn(
        RandomNetwork(steps, last, as_dict=dice.random() < 0.3),
        inputs,
        dice.choice(["xnor", "xnor", "dorefa"]),
        {"weight_scale_axis": "input"} if dice.random() < 0.05 else {},
        {"opset": dice.choice([18, 20, 23]), "weights": dice.choice(["packed", "float"])},
    )


def _draw_steps(
    dice: random.Random, inputs: tuple[Tensor, ...], length: int
) -> tuple[list[Step], list[Tensor]]:
    """Steps, and what they compute in eval mode, to see which ones fit together."""
    values = list(inputs)
    steps: list[Step] = []
    while len(steps) < length or not _ends_behind_conv(steps):
        step = dice.choices(list(KINDS), list(KINDS.values()))[0](dice, values, steps)
        if step is None:
            continue
        try:
            y = step.eval()(values)
        except (RuntimeError, ValueError):
            continue
        if min(y.shape) < 1 or y.dim() != 4 or max(y.shape[2:]) > 24 or y.shape[1] > 64:
            continue
        steps.append(step)
        values.append(y)
    return steps, values


def _ends_behind_conv(steps: Sequence[Step]) -> bool:
    """Whether the last value depends on a conv2d."""
    behind = [False, False]
    for step in steps:
        parts = [module for part in step.parts for module in part.modules()]
        has_conv = any(isinstance(module, nn.Conv2d | ComputedWeight) for module in parts)
        behind.append(has_conv or any(behind[index] for index in step.sources))
    return behind[-1]


def _recent(dice: random.Random, values: Sequence[Tensor]) -> int:
    """Mostly one of the last values, so that chains arise."""
    return max(0, len(values) - 1 - min(int(dice.expovariate(0.9)), len(values) - 1))


def _conv(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step:
    index = _recent(dice, values)
    channels = values[index].shape[1]
    groups = dice.choice([g for g in (1, 2, channels) if channels % g == 0] if dice.random() < 0.15 else [1])
    kernel: Any = dice.choice([1, 1, 2, 3, 3, 3, 3, 4, 5, 7, (1, 3), (3, 1), (1, 5)])
    stride: Any = dice.choice([1, 1, 1, 2, (2, 1), 3])
    padding: Any = dice.choice([0, 1, 1, 2, 3, 4, (0, 1), (2, 0), (5, 1), "same", "valid"])
    dilation: Any = dice.choice([1, 1, 1, 2, (1, 2)])
    padding_mode: Any = dice.choice(["zeros"] * 6 + ["reflect", "replicate", "circular"])
    out = groups * dice.choice([1, 5, 8, 8, 13, 16, 16, 24])
    return Step(
        [index],
        apply,
        nn.Conv2d(
            *(channels, out, kernel),
            stride=1 if padding == "same" else stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=dice.random() < 0.5,
            padding_mode=padding_mode,
        ),
    )


def apply(part: nn.Module, x: Tensor) -> Any:
    return part(x)


def _conv_again(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step | None:
    """A convolution that is there already, on another value or the same."""
    there = [part for step in steps for part in step.parts if isinstance(part, nn.Conv2d)]
    if not there:
        return None
    conv = dice.choice(there)
    fitting = [index for index, x in enumerate(values) if x.shape[1] == conv.in_channels]
    return Step([dice.choice(fitting)], apply, conv)


class ComputedWeight(nn.Module):
    """``F.conv2d`` with a weight that is computed from a parameter."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel))

    def forward(self, x: Tensor) -> Any:
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), padding="same")


def _functional_conv(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step:
    index = _recent(dice, values)
    return Step(
        [index], apply, ComputedWeight(values[index].shape[1], dice.choice([7, 8, 16]), dice.choice([1, 3]))
    )


def _on_one(*makers: Callable[[random.Random, int], nn.Module]) -> Callable[..., Step]:
    def make(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step:
        index = _recent(dice, values)
        return Step([index], apply, dice.choice(makers)(dice, values[index].shape[1]))

    return make


class SqueezeExcite(nn.Module):
    """Channels, weighted by what their means say: convolutions on single pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Any:
        return x * self.expand(self.reduce(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


def _sum(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step | None:
    first = _recent(dice, values)
    fitting = [index for index, x in enumerate(values) if x.shape == values[first].shape and index != first]
    if not fitting:
        return None
    operations: list[Any] = [torch.add, torch.add, torch.sub, torch.mul, torch.maximum]
    return Step([first, dice.choice(fitting)], dice.choice(operations))


def _concatenation(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step | None:
    first = _recent(dice, values)
    fitting = [index for index, x in enumerate(values) if x.shape[2:] == values[first].shape[2:]]
    return Step([first, *dice.sample(fitting, min(len(fitting), dice.choice([1, 2])))], concatenate)


def concatenate(*xs: Tensor) -> Tensor:
    return torch.cat(xs, 1)


def _function(dice: random.Random, values: list[Tensor], steps: list[Step]) -> Step:
    return Step([_recent(dice, values)], dice.choice(FUNCTIONS))


FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x * 0.5,
    lambda x: x + 0.25,
    lambda x: -x,
    lambda x: x[:, 1:],
    lambda x: x[:, :, 1:, :-1],
    lambda x: torch.chunk(x, 2, 1)[0],
    lambda x: F.pad(x, (1, 0, 2, 1)),
    lambda x: F.interpolate(x, scale_factor=2.0),
    lambda x: x.transpose(2, 3),
    lambda x: x.flip(3),
    lambda x: x.clamp(-0.5, 1.5),
    lambda x: x - x.mean((2, 3), keepdim=True),
    torch.relu,
    torch.abs,
)

KINDS: dict[Callable[..., Step | None], float] = {
    _conv: 9,
    _conv_again: 1.5,
    _functional_conv: 0.7,
    _on_one(lambda _dice, channels: nn.BatchNorm2d(channels)): 3,
    _on_one(
        lambda _dice, _channels: nn.ReLU(),
        lambda _dice, _channels: nn.ReLU(inplace=True),
        lambda _dice, _channels: nn.Hardtanh(),
        lambda _dice, channels: nn.PReLU(channels),
        lambda _dice, _channels: nn.SiLU(),
        lambda _dice, _channels: nn.Dropout(0.3),
    ): 3,
    _on_one(
        lambda _dice, _channels: nn.MaxPool2d(2),
        lambda _dice, _channels: nn.MaxPool2d(3, 1, 1),
        lambda _dice, _channels: nn.AvgPool2d(3, 2, 1),
        lambda _dice, channels: nn.ConvTranspose2d(channels, 8, 2, 2),
        lambda _dice, channels: SqueezeExcite(channels),
        lambda _dice, channels: nn.GroupNorm(1, channels),
    ): 1.5,
    _sum: 3,
    _concatenation: 1,
    _function: 2,
}
"""What a step may be, and how often."""
