"""Pictures that are read while they are needed, in any order: folders and other sets with positions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.train.data.interface import EVALUATION_BATCH, Batch, TrainingBatches
from fxbin.train.data.loader import Workers, worker_count
from fxbin.train.data.mixing import with_mixing
from fxbin.train.data.picture_set import Parts
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import BadPictures, Key, Read, Reader, Use
from fxbin.train.data.seeds import generator_of
from fxbin.train.data.sizes import batch_sizes, check_enough

SAMPLES = 1000
"""Most held-out pictures with which runtimes are compared."""

LEAST = 2
"""Pictures that each process gets of a batch, at least: BatchNorm has no variance of one value."""

SAMPLE_BYTES = 2**26
"""Most memory that these take."""


class PictureData:
    """See `Data`. Pictures that cannot be read are left out, counted, and too many of them are an error."""

    def __init__(
        self, parts: Parts, preprocessing: Preprocessing, config: Config, device: torch.device | None = None
    ) -> None:
        self.name = config.data
        self.class_names = parts.class_names
        self.notes = parts.notes
        self.preprocessing = preprocessing
        self.training_pictures = len(parts.training)
        self.held_out_pictures = len(parts.held_out)
        self.device = device or torch.device("cpu")
        self.bad_training = BadPictures("training", self.training_pictures, config.bad_pictures)
        self.bad_held_out = BadPictures("held-out", self.held_out_pictures, config.bad_pictures)
        self._parts = parts
        self._config = config
        self._samples: dict[int | None, Batch] = {}
        reader = Reader(parts, preprocessing, preprocessing.for_training(config.augmentation))
        self._workers = Workers(reader, worker_count(config.workers), pin_memory=self.device.type == "cuda")

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, height and width of the model's input."""
        own = self.preprocessing
        return own.channels, own.height, own.width

    def to(self, device: torch.device) -> "PictureData":
        """See `Data.to`."""
        if device == self.device:
            return self
        return PictureData(self._parts, self.preprocessing, self._config, device)

    def with_preprocessing(self, preprocessing: Preprocessing) -> "PictureData":
        """The same pictures, made inputs in another way."""
        if preprocessing == self.preprocessing:
            return self
        return PictureData(self._parts, preprocessing, self._config, self.device)

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """See `Data.training`."""
        check_enough(self.training_pictures, config.batch_size, ranks)
        batches = PictureBatches(self, config.batch_size, seed, rank, ranks)
        classes = config.num_classes or len(self.class_names)
        return with_mixing(batches, config.augmentation, classes, seed, rank)

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """See `Data.held_out`."""
        self.bad_held_out.names.clear()
        every = torch.arange(self.held_out_pictures).split(min(EVALUATION_BATCH, self._config.batch_size))
        yield from self._plain(every[rank::ranks], Use.HELD_OUT)

    def samples(self, limit: int | None = None) -> Batch:
        """See `Data.samples`; they are spread evenly over the held-out pictures."""
        if limit not in self._samples:
            channels, height, width = self.picture
            most = min(SAMPLES, max(SAMPLE_BYTES // (4 * channels * height * width), 16))
            self._samples[limit] = self._spread(Use.HELD_OUT, min(limit or most, self.held_out_pictures))
        return self._samples[limit]

    def plain_training(self, count: int) -> Iterator[Tensor]:
        """Yield batches of about `count` training pictures, uint8, without augmentation."""
        indices = spread(self.training_pictures, count).split(EVALUATION_BATCH)
        for read in self._workers.read(keys_of(indices, Use.PLAIN)):
            self.take(read, self.bad_training)
            if not read.x.is_floating_point():
                yield read.x

    def epoch_notes(self) -> list[str]:
        """See `Data.epoch_notes`."""
        return [bad.described() for bad in (self.bad_training, self.bad_held_out) if bad.names]

    def kept(self) -> dict[str, Any]:
        """See `Data.kept`."""
        return {"classes": list(self.class_names), "pictures": self.preprocessing.to_dict()}

    def read(self, keys: Iterator[list[Key]]) -> Iterator[Read]:
        """What the workers read of lists of keys."""
        return self._workers.read(keys)

    def take(self, read: Read, bad: BadPictures) -> Batch:
        """The pictures in `read` as inputs on the device, with labels; `bad` counts those that are bad.

        Raises DataError if there are too many of them, or if the pictures cannot be used.
        """
        if read.wrong:
            raise DataError(read.wrong)
        bad.add(read.bad)
        x = read.x.to(self.device, non_blocking=True)
        labels = read.labels.to(self.device, non_blocking=True)
        return x if x.is_floating_point() else self.preprocessing.normalized(x), labels

    def _plain(self, indices: tuple[Tensor, ...], use: Use) -> Iterator[Batch]:
        for read in self._workers.read(keys_of(indices, use)):
            x, labels = self.take(read, self.bad_held_out)
            if len(labels):
                yield x, labels

    def _spread(self, use: Use, count: int) -> Batch:
        indices = spread(self.held_out_pictures, count).split(EVALUATION_BATCH)
        batches = list(self._plain(indices, use))
        if not batches:
            raise DataError(f"data: {self.bad_held_out.described()}.")
        x, labels = zip(*batches, strict=True)
        return torch.cat(x), torch.cat(labels)


@dataclass
class PictureBatches:
    """See `TrainingBatches`. The random numbers of a picture follow from seed, epoch and its position."""

    data: PictureData
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
        data = self.data
        data.bad_training.names.clear()
        for read in data.read(self._keys(number, start)):
            x, labels = data.take(read, data.bad_training)
            if not len(labels):
                raise DataError(
                    f"data: no picture of a batch can be read: {', '.join(read.bad)}. Repair or remove them."
                )
            yield x, labels

    def _keys(self, number: int, start: int) -> Iterator[list[Key]]:
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
