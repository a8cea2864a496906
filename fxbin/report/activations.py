"""How the activations of each binarized call site lie around the thresholds that they are compared with."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.binarizers import ActivationBinarizer

BINS = 40
"""Bars of a histogram, an even number, so that the threshold is between two of them."""

COVERED = 0.99
"""Share of the activations that the range of a histogram covers; the outer bars hold the rest."""

SAMPLED = 1_000_000
"""Values from which the range is taken: more would make no difference, and `quantile` refuses them."""


@dataclass(frozen=True)
class ActivationHistogram:
    """The inputs of one activation binarizer, relative to the thresholds of their channels."""

    name: str
    """Hierarchical name of the call site: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    counts: tuple[int, ...]
    """Number of activations in each of `BINS` bars of equal width; the outer two hold all beyond as well."""

    reach: float
    """The bars go from this far below the threshold to this far above it, in the units of x."""

    fired: float
    """Share of the finite activations above their thresholds, from 0 to 1; 0 if there were none."""

    smallest_threshold: float
    """Smallest threshold of all channels, in the units of x."""

    largest_threshold: float
    """Largest threshold of all channels, in the units of x."""

    scale: float
    """Distance between the levels, in the units of x."""

    not_finite: int = 0
    """Number of activations that were NaN or infinite, which are in no bar."""


@torch.no_grad()
def activation_histograms(
    model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any] | None = None
) -> list[ActivationHistogram]:
    """Run `model` once, in eval mode, and return a histogram for each binarized call site that ran.

    The model is as it is: binarizers that are off pass their inputs on, and count all the same. Its mode is
    put back at the end. A histogram is empty if nothing that the call site got was finite.

    Args:
        model: the model that `fxbin.transform` returned.
        inputs: positional arguments of its forward.
        kwargs: keyword arguments of its forward.

    Raises TransformError if `model` does not come from `fxbin.transform`.
    """
    model = transformed(model, "activation_histograms")
    counts = {name: _Counts(name, site.activation) for name, site in model.binarization.sites.items()}
    with ExitStack() as stack:
        stack.enter_context(_in_eval_mode(model))
        for each in counts.values():
            stack.enter_context(each.counting())
        model(*inputs, **(kwargs or {}))
    return [each.histogram() for each in counts.values() if each.seen or each.not_finite]


class _Counts:
    """Counts what one binarizer gets. No activations are kept: those of all layers can be gigabytes."""

    def __init__(self, name: str, binarizer: ActivationBinarizer) -> None:
        self.name = name
        self.binarizer = binarizer
        self.bars = torch.zeros(BINS, dtype=torch.float64)
        self.reach = 0.0
        self.seen = self.fired = self.not_finite = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count each call of the binarizer."""

        def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x: Tensor = args[0] if args else next(iter(kwargs.values()))
            self.add((x.detach() - self.binarizer.levels().threshold.view(-1, 1, 1)).float().flatten())

        hook = self.binarizer.register_forward_pre_hook(look, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def add(self, x: Tensor) -> None:
        """Count `x`, activations minus thresholds; the first values decide how far the bars reach."""
        total, x = len(x), x[x.isfinite()]
        self.not_finite += total - len(x)
        if not len(x):
            return
        if not self.seen:
            magnitudes = x.abs()[:: max(1, len(x) // SAMPLED)][:SAMPLED]
            self.reach = float(magnitudes.quantile(COVERED)) or float(magnitudes.max()) or 1.0
        inside = x.clamp(-self.reach, self.reach)
        self.bars += torch.histc(inside, BINS, -self.reach, self.reach).double().cpu()
        self.seen += len(x)
        self.fired += int((x > 0).sum())

    def histogram(self) -> ActivationHistogram:
        """The histogram of all that was counted, which must be something."""
        threshold, low, high = self.binarizer.levels()
        return ActivationHistogram(
            name=self.name,
            counts=tuple(int(count) for count in self.bars),
            reach=self.reach,
            fired=self.fired / max(self.seen, 1),
            smallest_threshold=float(threshold.min()),
            largest_threshold=float(threshold.max()),
            scale=float((high - low).mean()),
            not_finite=self.not_finite,
        )


@contextmanager
def _in_eval_mode(model: BinarizedModule) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
