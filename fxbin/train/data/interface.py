"""What the trainer needs of a data set, wherever its pictures come from."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from fxbin.config import Config

Batch = tuple[Tensor, Tensor]
"""Inputs of the model ``(n, c, h, w)``; labels ``(n,)``, int64, or each class's share, ``(n, classes)``."""

EVALUATION_BATCH = 500
"""Most pictures per forward when evaluating."""


class TrainingBatches(Protocol):
    """The batches of one process, in an order that follows from the seed and the epoch alone."""

    def __len__(self) -> int:
        """Number of batches in an epoch, the same in all processes."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `number` (any integer), the first `start` of them left out.

        They are the same whether or not earlier epochs or batches were asked for.
        """

    def division(self) -> list[int]:
        """How an epoch is divided among processes, as far as its batches depend on that."""

    def divided(self, division: list[int]) -> Self:
        """These batches divided in another way, to go on with an epoch that was begun so."""


class Data(Protocol):
    """Labelled pictures to train on, and others that are held out."""

    @property
    def name(self) -> str:
        """What the config key `data` says."""

    @property
    def class_names(self) -> Sequence[str]:
        """The name of each class, by label."""

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, height and width of what the model gets."""

    @property
    def training_pictures(self) -> int:
        """Number of pictures to train on."""

    @property
    def training_counts(self) -> Sequence[int]:
        """On what the order of an epoch depends: the number of training pictures, or that of each shard."""

    @property
    def held_out_pictures(self) -> int:
        """Number of pictures that are held out."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the pictures, a line each."""

    def to(self, device: torch.device) -> Self:
        """The same data, whose batches are on `device`."""

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """The batches for process `rank` of `ranks`, with batch size and augmentation of `config`.

        Each batch is divided among the processes, whose parts differ in size by at most one picture.
        Raises DataError if there are fewer pictures than processes.
        """

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """Yield the batches that process `rank` of `ranks` evaluates; all processes together get each once.

        A batch is the same whatever the number of processes, so that the outputs are, to the bit.
        """

    def samples(self, limit: int | None = None) -> Batch:
        """Up to `limit` of the held-out pictures, for comparisons of runtimes.

        Without a limit, all of them if they are in memory, and at most `picture_data.SAMPLES` of them if not.
        """

    def epoch_notes(self) -> list[str]:
        """What the user should know about the epoch that was trained and evaluated, in this process."""

    def kept(self) -> dict[str, Any] | None:
        """What checkpoints and exported files keep, as plain values: see `fxbin.train.data.kept`."""
