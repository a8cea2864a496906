"""Pictures that are read while they are needed, in any order: folders and other sets with positions."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.train.data.interface import EVALUATION_BATCH, Batch, TrainingBatches
from fxbin.train.data.kept import kept_of_held_out
from fxbin.train.data.loader import worker_count
from fxbin.train.data.mixing import with_mixing
from fxbin.train.data.picture_set import Parts
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import Key, Reader, Use
from fxbin.train.data.seeds import generator_of
from fxbin.train.data.sizes import check_enough
from fxbin.train.data.worker_batches import WorkerBatches
from fxbin.train.data.worker_data import WorkerData


class PictureData(WorkerData):
    """See `Data`."""

    def __init__(
        self, parts: Parts, preprocessing: Preprocessing, config: Config, device: torch.device | None = None
    ) -> None:
        super().__init__(
            Reader(parts, preprocessing, preprocessing.for_training(config.augmentation)),
            preprocessing,
            config,
            device or torch.device("cpu"),
            class_names=parts.class_names,
            pictures=(len(parts.training), len(parts.held_out)),
            workers=worker_count(config.workers),
            notes=parts.notes,
        )
        self._parts = parts
        self._samples: dict[int | None, Batch] = {}
        self._kept: dict[str, Any] | None = None

    def to(self, device: torch.device) -> "PictureData":
        """See `Data.to`."""
        if device == self.device:
            return self
        return PictureData(self._parts, self.preprocessing, self.config, device)

    def kept(self) -> dict[str, Any]:
        """See `Data.kept`."""
        if self._kept is None:  # it takes a moment for millions of pictures
            held_out = self._parts.held_out.names()
            self._kept = super().kept() | kept_of_held_out(held_out, is_share=self._parts.is_split)
        return self._kept

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """See `Data.training`."""
        check_enough(self.training_pictures, config.batch_size, ranks)
        batches = PictureBatches(self, config.batch_size, seed, rank, ranks)
        classes = config.num_classes or len(self.class_names)
        return with_mixing(batches, config.augmentation, classes, seed, rank)

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """See `Data.held_out`."""
        self.bad_held_out.names.clear()
        every = torch.arange(self.held_out_pictures).split(min(EVALUATION_BATCH, self.config.batch_size))
        yield from self._plain(every[rank::ranks], Use.HELD_OUT)

    def samples(self, limit: int | None = None) -> Batch:
        """See `Data.samples`; they are spread evenly over the held-out pictures."""
        if limit not in self._samples:
            self._samples[limit] = self._spread(min(limit or self.most_samples, self.held_out_pictures))
        return self._samples[limit]

    def plain_training(self, count: int) -> Iterator[Tensor]:
        """Yield batches of about `count` training pictures, uint8, without augmentation."""
        indices = spread(self.training_pictures, count).split(EVALUATION_BATCH)
        for read in self.workers.read(keys_of(indices, Use.PLAIN)):
            self.take(read, self.bad_training)
            if not read.x.is_floating_point():
                yield read.x

    def _plain(self, indices: tuple[Tensor, ...], use: Use) -> Iterator[Batch]:
        for read in self.workers.read(keys_of(indices, use)):
            x, labels = self.take(read, self.bad_held_out)
            if len(labels):
                yield x, labels

    def _spread(self, count: int) -> Batch:
        indices = spread(self.held_out_pictures, count).split(EVALUATION_BATCH)
        batches = list(self._plain(indices, Use.HELD_OUT))
        if not batches:
            raise DataError(f"data: {self.bad_held_out.described()}.")
        x, labels = zip(*batches, strict=True)
        return torch.cat(x), torch.cat(labels)


class PictureBatches(WorkerBatches):
    """See `TrainingBatches`. Shuffled for each epoch."""

    @override
    def keys(self, number: int, start: int) -> Iterator[list[Key]]:
        order = torch.randperm(self.data.training_pictures, generator=generator_of(self.seed, number))
        for batch in order.split(self.sizes)[start:]:
            own = batch.tensor_split(self.ranks)[self.rank].tolist()
            yield [Key(Use.TRAINING, index, self.seed, number) for index in own]


def keys_of(indices: tuple[Tensor, ...], use: Use) -> Iterator[list[Key]]:
    """A list of keys for each tensor of `indices`."""
    for part in indices:
        yield [Key(use, index) for index in part.tolist()]


def spread(length: int, count: int) -> Tensor:
    """Up to `count` positions below `length`, in even distances."""
    count = min(count, length)
    return torch.arange(count) * length // count
