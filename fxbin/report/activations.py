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
    """Share of the activations above their thresholds, from 0 to 1."""

    smallest_threshold: float
    """Smallest threshold of all channels, in the units of x."""

    largest_threshold: float
    """Largest threshold of all channels, in the units of x."""

    scale: float
    """Distance between the levels, in the units of x."""


@torch.no_grad()
def activation_histograms(
    model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any] | None = None
) -> list[ActivationHistogram]:
    """Run `model` once, in eval mode, and return a histogram for each binarized call site that ran.

    The model is as it is: binarizers that are off pass their inputs on, and count all the same. Its mode is
    put back at the end.

    Args:
        model: the model that `fxbin.transform` returned.
        inputs: positional arguments of its forward.
        kwargs: keyword arguments of its forward.

    Raises TransformError if `model` does not come from `fxbin.transform`.
    """
    model = transformed(model, "activation_histograms")
    seen: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        stack.enter_context(_in_eval_mode(model))
        for name, site in model.binarization.sites.items():
            stack.enter_context(_watched(site.activation, seen.setdefault(name, [])))
        model(*inputs, **(kwargs or {}))
    sites = model.binarization.sites
    found = (_histogram(name, sites[name].activation, values) for name, values in seen.items())
    return [histogram for histogram in found if histogram is not None]


@contextmanager
def _watched(binarizer: ActivationBinarizer, seen: list[Tensor]) -> Iterator[None]:
    """Add to `seen` what `binarizer` gets, minus the threshold of each channel, flat, on the CPU."""

    def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        threshold = binarizer.levels().threshold.view(-1, 1, 1)
        seen.append((x.detach() - threshold).float().flatten().cpu())

    hook = binarizer.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _in_eval_mode(model: BinarizedModule) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _histogram(name: str, binarizer: ActivationBinarizer, values: list[Tensor]) -> ActivationHistogram | None:
    """The histogram of `values`, which are relative to the thresholds; None without a finite one."""
    x = torch.cat(values) if values else torch.empty(0)
    x = x[x.isfinite()]
    if not len(x):
        return None
    magnitudes = x.abs()[:: max(1, len(x) // SAMPLED)]
    reach = float(magnitudes.quantile(COVERED)) or float(magnitudes.max()) or 1.0
    counts = torch.histc(x.clamp(-reach, reach), BINS, -reach, reach)
    threshold, low, high = binarizer.levels()
    return ActivationHistogram(
        name=name,
        counts=tuple(int(count) for count in counts),
        reach=reach,
        fired=float((x > 0).double().mean()),
        smallest_threshold=float(threshold.min()),
        largest_threshold=float(threshold.max()),
        scale=float((high - low).mean()),
    )
