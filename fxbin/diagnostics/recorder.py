"""Records what the binarized call sites of a model do while it trains."""

import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from fxbin.binarized.state import Site
from fxbin.binarized.unwrap import transformed, unwrapped
from fxbin.binarized.weight_source import weight_sources
from fxbin.binarizers import Binarizer, WeightBinarizer
from fxbin.binarizers.firing import FiringCount
from fxbin.binarizers.ranks import rank_count, sum_over_ranks
from fxbin.diagnostics.gradient_norms import GradientNorms
from fxbin.diagnostics.report import DiagnosticsReport, SiteDiagnostics


class Diagnostics:
    """Records what each binarized call site of a model does while it trains.

        with fxbin.Diagnostics(binarized) as diagnostics:
            for epoch in range(90):
                ...  # train
                print(diagnostics.report())

    Each report covers the time since the previous one, or since the start. Training never waits for the
    device: counts and sums stay there until a report reads them. Without this object, nothing is counted;
    copies of the model are not recorded.

    `model` may be wrapped in `DistributedDataParallel` or `torch.compile`; a compiled model is compiled again
    when recording starts and when it ends. If two objects record one model, only the later one counts firing.

    Raises TransformError if `model` does not come from `fxbin.transform`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = transformed(unwrapped(model), "Diagnostics")
        self._weights = weight_sources(self._model)
        self._positive = self._signs()
        self._counts: dict[str, FiringCount] = {}
        for name, site in self._model.binarization.sites.items():
            activation = site.activation
            self._counts[name] = FiringCount(activation.channels, _device(activation))
            activation.firing = self._counts[name]
        made_of = [parameter for source in self._weights.values() for parameter in source.parameters()]
        self._norms = GradientNorms([*made_of, *self._model.binarization.parameters()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop recording."""
        for name, site in self._model.binarization.sites.items():
            if site.activation.firing is self._counts[name]:
                site.activation.firing = None
        self._norms.close()

    def report(self, *, over_ranks: bool = False) -> DiagnosticsReport:
        """Report what was recorded since the last report, and start again; this waits for the device.

        Under torch.distributed the shares of firing activations are those of this rank; everything else is
        equal on all ranks. With `over_ranks` they are those of all ranks, and every rank must call it.
        """
        now = self._signs()
        flipped = {
            binarizer: (positive ^ self._positive[binarizer]).float().mean().item()
            for binarizer, positive in now.items()
        }
        self._positive = now
        sites = []
        for name, site in self._model.binarization.sites.items():
            fired, silent = self._firing(self._counts[name], over_ranks)
            weights = flipped[site.weight], _entropy(now[site.weight])
            sites.append(self._site(name, site, fired, silent, *weights))
            self._counts[name].reset()
        self._norms.reset()
        return DiagnosticsReport(self._model.binarization.stage, tuple(sites))

    def state_dict(self) -> dict[str, Any]:
        """What was recorded since the last report, as tensors and plain values, for a checkpoint."""
        return {
            "positive": [positive.clone() for positive in self._positive.values()],
            "counts": {
                name: [count.fired.clone(), count.counted.clone()] for name, count in self._counts.items()
            },
            "norms": self._norms.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with `state`, as `state_dict` of another object for the same model returned it."""
        for own, kept in zip(self._positive.values(), state["positive"], strict=True):
            own.copy_(kept)
        for name, (fired, counted) in state["counts"].items():
            self._counts[name].fired.copy_(fired)
            self._counts[name].counted.copy_(counted)
        self._norms.load_state_dict(state["norms"])

    def _site(
        self, name: str, site: Site, fired: float | None, silent: int | None, flipped: float, entropy: float
    ) -> SiteDiagnostics:
        with torch.no_grad():
            bounds, low, high = site.activation.levels()
        return SiteDiagnostics(
            name=name,
            activations_binarized=site.activation.is_enabled,
            weights_binarized=site.weight.is_enabled,
            fired=fired,
            channels=site.activation.channels,
            silent_channels=silent,
            flipped=flipped,
            entropy=entropy,
            low=low.item(),
            scale=(high - low).item(),
            threshold=bounds.mean().item(),
            smallest_threshold=bounds.min().item(),
            largest_threshold=bounds.max().item(),
            weight_gradient=self._norm(self._weights[site.weight].parameters()),
            scale_gradient=self._norm(p for p in site.activation.parameters() if p.numel() == 1),
            threshold_gradient=self._norm(p for p in site.activation.parameters() if p.numel() > 1),
        )

    def _signs(self) -> dict[WeightBinarizer, Tensor]:
        """Where each weight has its high level, or would have it."""
        with torch.no_grad():
            values = {binarizer: source.value() for binarizer, source in self._weights.items()}
            return {binarizer: w > binarizer.levels(w).threshold for binarizer, w in values.items()}

    def _norm(self, parameters: Iterable[nn.Parameter]) -> float | None:
        """Norm over all `parameters` from the mean norm of each; None if none had a gradient."""
        means = [self._norms.mean(parameter) for parameter in parameters]
        known = [mean for mean in means if mean is not None]
        return math.hypot(*known) if known else None

    @staticmethod
    def _firing(count: FiringCount, over_ranks: bool) -> tuple[float | None, int | None]:
        """Share of activations that fired, and number of channels that never did; None without any."""
        both: Tensor = torch.cat([count.fired, count.counted.view(1)])
        if over_ranks and rank_count() > 1:
            both = sum_over_ranks(both)
        *fired, seen = both.tolist()
        if seen == 0:
            return None, None
        return sum(fired) / (seen * len(fired)), sum(number == 0 for number in fired)


def _device(binarizer: Binarizer) -> torch.device:
    return next(binarizer.parameters(), binarizer.enabled).device


def _entropy(positive: Tensor) -> float:
    """Entropy in bits of the signs of a weight, mean over its filters."""
    share = positive.flatten(1).double().mean(1)
    both = torch.stack([share, 1 - share])
    return float(-torch.special.xlogy(both, both).sum(0).mean() / math.log(2))
