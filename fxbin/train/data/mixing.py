"""Mixup and CutMix: blends of pictures and of their labels, made of whole batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fxbin.config.data import Augmentation
from fxbin.train.data.interface import Batch, TrainingBatches
from fxbin.train.data.seeds import generator_of


@dataclass(frozen=True)
class MixedBatches:
    """The `batches` of a process, mixed as `augmentation` says."""

    batches: TrainingBatches
    augmentation: Augmentation
    classes: int
    seed: int
    rank: int

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """See `TrainingBatches.epoch`."""
        for position, batch in enumerate(self.batches.epoch(number, start), start):
            yield mixed(batch, self.augmentation, self.classes, self.seed, number, position, self.rank)

    def division(self) -> list[int]:
        """See `TrainingBatches.division`."""
        return self.batches.division()

    def divided(self, division: list[int]) -> Self:
        """See `TrainingBatches.divided`."""
        return replace(self, batches=self.batches.divided(division))


def with_mixing(
    batches: TrainingBatches, augmentation: Augmentation, classes: int, seed: int, rank: int
) -> TrainingBatches:
    """`batches`, mixed if `augmentation` asks for it."""
    if augmentation.mixup or augmentation.cutmix:
        return MixedBatches(batches, augmentation, classes, seed, rank)
    return batches


def mixed(batch: Batch, augmentation: Augmentation, classes: int, *seeds: int) -> Batch:
    """`batch` with the mixup or CutMix that `augmentation` has; `seeds` seed its random numbers.

    Each picture is mixed with the one before it in the batch, the first with the last. If both are asked
    for, each batch gets one of them, with equal probability.

    Shapes:    x ``(n, c, h, w)``; labels ``(n,)`` to ``(n, classes)``: the share of each class.
    Source:    `mixup` Zhang et al. 2018, arXiv:1710.09412, eq. (1); `cutmix` Yun et al. 2019,
               arXiv:1905.04899, eq. (1) and (2). One lambda a batch, as in their code.
    """
    generator = generator_of(*seeds)
    both = augmentation.mixup and augmentation.cutmix
    cuts = _uniform(generator) < 0.5 if both else bool(augmentation.cutmix)
    share = beta(augmentation.cutmix if cuts else augmentation.mixup, generator)
    x, labels = batch
    one_hot = F.one_hot(labels, classes).to(torch.float32)
    if cuts:
        x, share = cutmix(x, share, generator)
    else:
        x = x.mul(share).add_(x.roll(1, 0), alpha=1 - share)
    return x, one_hot.mul(share).add_(one_hot.roll(1, 0), alpha=1 - share)


def cutmix(x: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """`x` with a rectangle, about 1 - `share` of it, from the picture before; and the share that is left."""
    height, width = x.shape[-2:]
    ratio = 0.5 * (1 - share) ** 0.5
    row, column = int(_uniform(generator) * height), int(_uniform(generator) * width)
    half_height, half_width = int(ratio * height), int(ratio * width)
    rows = slice(max(row - half_height, 0), min(row + half_height, height))
    columns = slice(max(column - half_width, 0), min(column + half_width, width))
    cut = x.clone()
    cut[..., rows, columns] = x.roll(1, 0)[..., rows, columns]
    area = max(rows.stop - rows.start, 0) * max(columns.stop - columns.start, 0)
    return cut, 1 - area / (height * width)


def beta(alpha: float, generator: torch.Generator) -> float:
    """A number from Beta(alpha, alpha)."""
    # torch's distributions draw from the global generator alone.
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds the generators of GPUs as well.
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return float(torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha)).sample())


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
