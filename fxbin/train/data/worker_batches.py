"""Batches that worker processes read, where each process of a training gets a part of every batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from fxbin.train.data.interface import Batch
from fxbin.train.data.sizes import batch_sizes
from fxbin.train.data.worker_data import LEAST, WorkerData


@dataclass
class WorkerBatches(ABC):
    """See `TrainingBatches`. The random numbers of a picture follow from seed, epoch and its position."""

    data: WorkerData
    batch_size: int
    seed: int
    rank: int
    ranks: int
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = batch_sizes(self.data.training_pictures, self.batch_size, self.ranks, LEAST)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.sizes)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """See `TrainingBatches.epoch`."""
        return self.data.train_on(self.keys(number, start), (self.seed, number))

    def division(self) -> list[int]:
        """See `TrainingBatches.division`: nothing, as each process gets its part of the same batches."""
        return []

    def divided(self, division: list[int]) -> Self:  # noqa: ARG002  (the same for all)
        """See `TrainingBatches.divided`."""
        return self

    @abstractmethod
    def keys(self, number: int, start: int) -> Iterator[Any]:
        """What the workers need to read each batch of epoch `number`, after the first `start`."""
