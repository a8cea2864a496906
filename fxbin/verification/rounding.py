"""How much the outputs of a model depend on how values are rounded, because some lie next to thresholds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.binarizers import ActivationBinarizer
from fxbin.lowering.inputs import BoundInputs
from fxbin.verification.reference import outputs_of

SEED = 0
"""Seed of the random numbers here."""

ROUNDING = 1e-6
"""Relative difference of two runtimes that counts as rounding: they sum in different orders, and one rounding
in float32 is 2 ** -24. In dtypes that round more, it is the distance from 1 to the next number."""


@torch.no_grad()
def output_changes(model: nn.Module, sample: BoundInputs, runs: int = 3) -> list[float]:
    """How much each output of `model` changes when the inputs of all binarizers are rounded differently.

    A value next to its threshold may then cross it, as it may in another runtime, which changes the outputs.
    A value that is computed from nothing that is rounded stays as it is: a 0 behind a ReLU, or what a filter
    of zeros gives. A runtime in which that crosses its threshold computes something else.

    Returns the largest absolute change of each output in `runs` runs with random noise.
    """
    noise = _Noise(model)
    with noise.hooks(noise.record):
        expected = outputs_of(model, sample)
    with noise.hooks(noise.compare, noise.on_output):
        outputs_of(model, noise.on_sample(sample))
    with noise.hooks(noise.on_input):
        changed = [outputs_of(model, noise.begin(sample)) for _ in range(runs)]
    return [
        max(float((run[index] - y).abs().max()) if y.is_floating_point() else 0.0 for run in changed)
        for index, y in enumerate(expected)
    ]


class _Noise:
    """Changes the inputs of binarizers by as much as rounding would, where they are rounded at all.

    That is found by a run in which each value that a sample or a binarizer gives is changed in proportion to
    itself: inputs of binarizers that then stay what they were are not rounded. As a small sum of large
    numbers is rounded like these, the others are changed in proportion to their mean size.
    """

    def __init__(self, model: nn.Module) -> None:
        self.binarizers = [module for module in model.modules() if isinstance(module, ActivationBinarizer)]
        self.inputs: list[Tensor] = []
        """Inputs of the binarizers without noise, one for each call."""
        self.is_rounded: list[Tensor] = []
        """Which values of these inputs are rounded."""
        self.calls = 0
        """Number of calls since the begin of a run."""
        self.generator = torch.Generator().manual_seed(SEED)

    @contextmanager
    def hooks(self, before: Callable[..., Any], after: Callable[..., Any] | None = None) -> Iterator[None]:
        """Hook `before` and `after` into the calls of all binarizers."""
        handles = [binarizer.register_forward_pre_hook(before) for binarizer in self.binarizers]
        if after is not None:
            handles += [binarizer.register_forward_hook(after) for binarizer in self.binarizers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def record(self, _module: nn.Module, args: tuple[Tensor]) -> None:
        """Keep an input; a copy, as later code may change it in place."""
        self.inputs.append(args[0].clone())

    def begin(self, sample: BoundInputs) -> BoundInputs:
        """Begin a run on `sample`."""
        self.calls = 0
        return sample

    def on_sample(self, sample: BoundInputs) -> BoundInputs:
        """Return `sample` with noise."""
        tensors = [x + self._like(x) * x if x.is_floating_point() else x for x in sample.tensors]
        return BoundInputs(sample.with_tensors(tensors), sample.names)

    def compare(self, _module: nn.Module, args: tuple[Tensor]) -> None:
        """Find what is rounded in an input."""
        self.is_rounded.append(args[0] != self.inputs[len(self.is_rounded)])

    def on_input(self, _module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """Return the input of a binarizer with noise wherever it is rounded."""
        (x,) = args
        is_rounded = self.is_rounded[self.calls]
        self.calls += 1
        return (x + self._like(x) * x.square().mean().sqrt() * is_rounded,)

    def on_output(self, _module: nn.Module, _args: tuple[Tensor], y: Tensor) -> Tensor:
        """Return the output of a binarizer with noise."""
        return y + self._like(y) * y

    def _like(self, x: Tensor) -> Tensor:
        """Random numbers of the size of rounding, in the shape of `x`."""
        noise = torch.randn(x.shape, generator=self.generator).to(x)
        return noise * max(ROUNDING, torch.finfo(x.dtype).eps)
