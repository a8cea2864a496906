"""Mean loss and accuracy of an epoch, summed up where the training runs."""

import time
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fxbin.binarizers.ranks import rank_count, sum_over_ranks

PAUSE = 0.5
"""Seconds between two looks at the sums on a GPU, each of which waits for it."""


class Meter:
    """Mean loss and accuracy over the images of an epoch so far.

    Sums are kept in float64 on the device of the losses. `add` does not wait for the device; reading `loss`,
    `accuracy` or `parts` does.
    """

    def __init__(self) -> None:
        self.images = 0
        """Number of images."""
        self._sums: Tensor | None = None
        """Sums over the images: the loss, its parts, and how many are correct."""
        self._names: tuple[str, ...] = ()
        self._read: list[float] | None = None
        self._glanced = (-PAUSE, 0.0, 0.0)

    def add(
        self, loss: Tensor, logits: Tensor, labels: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> None:
        """Count one batch whose mean loss is `loss`, which consists of `parts`; all batches have the same."""
        names = tuple(parts or ())
        means = torch.stack([value.double() for value in (loss, *(parts or {}).values())])
        most = (
            labels.argmax(1) if labels.is_floating_point() else labels
        )  # shares of classes, of mixed pictures
        correct = (logits.argmax(1) == most).sum().double()
        sums = torch.cat([means * len(labels), correct.view(1)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._names = names
        self.images += len(labels)
        self._read = None

    @classmethod
    def joined(cls, meters: Iterable["Meter"]) -> "Meter":
        """A meter over the images of all `meters`, whose losses have the same parts."""
        result = cls()
        for meter in meters:
            if meter._sums is not None:
                result._sums = meter._sums if result._sums is None else result._sums + meter._sums
                result._names = meter._names
            result.images += meter.images
        return result

    def over_ranks(self, device: torch.device) -> "Meter":
        """Return a meter over the images of all processes; all must call it."""
        if rank_count() == 1:
            return self
        own = torch.zeros(2, dtype=torch.float64) if self._sums is None else self._sums
        images = torch.tensor([self.images], dtype=torch.float64, device=device)
        # All ranks have the same loss function, so their parts have the same names in the same order.
        total = sum_over_ranks(torch.cat([images, own.to(device)]))
        result = Meter()
        result.images, result._sums, result._names = int(total[0]), total[1:], self._names
        return result

    def glance(self) -> tuple[float, float]:
        """Loss and accuracy for a display: those of now, or, on a GPU, of up to `PAUSE` seconds ago."""
        seen, loss, accuracy = self._glanced
        on_cpu = self._sums is None or self._sums.device.type == "cpu"
        if not on_cpu and time.monotonic() - seen < PAUSE:
            return loss, accuracy
        self._glanced = (time.monotonic(), self.loss, self.accuracy)
        return self._glanced[1:]

    @property
    def loss(self) -> float:
        """Mean loss per image; 0 without images."""
        return self._totals()[0] / max(self.images, 1)

    @property
    def parts(self) -> dict[str, float]:
        """Means per image of what the loss consists of, before its weights."""
        return {
            name: total / max(self.images, 1)
            for name, total in zip(self._names, self._totals()[1:-1], strict=True)
        }

    @property
    def accuracy(self) -> float:
        """Percentage of the images that were classified correctly."""
        return 100 * self._totals()[-1] / max(self.images, 1)

    def _totals(self) -> list[float]:
        if self._read is None:
            self._read = [0.0, 0.0] if self._sums is None else self._sums.tolist()
        return self._read
