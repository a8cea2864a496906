"""What data that worker processes read has in common, wherever it comes from."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import Dataset

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.train.data.interface import Batch
from fxbin.train.data.loader import Workers
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import BadPictures, Read

SAMPLES = 1000
"""Most held-out pictures with which runtimes are compared."""

LEAST = 2
"""Pictures that each process gets of a batch, at least: BatchNorm has no variance of one value."""

SAMPLE_BYTES = 2**26
"""Most memory that these take."""


class WorkerData:
    """A part of `Data`: pictures that cannot be read are left out, counted, and too many are an error."""

    def __init__(
        self,
        reader: Dataset[Read],
        preprocessing: Preprocessing,
        config: Config,
        device: torch.device,
        *,
        class_names: tuple[str, ...],
        pictures: tuple[int, int],
        workers: int,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = config.data
        self.class_names = class_names
        self.notes = notes
        self.preprocessing = preprocessing
        self.training_pictures, self.held_out_pictures = pictures
        self.training_counts: tuple[int, ...] = (self.training_pictures,)
        self.device = device
        self.config = config
        self.bad_training = BadPictures("training", self.training_pictures, config.bad_pictures)
        self.bad_held_out = BadPictures("held-out", self.held_out_pictures, config.bad_pictures)
        self._notes_of_workers: dict[str, None] = {}
        self.workers = Workers(reader, workers, pin_memory=device.type == "cuda")

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, height and width of the model's input."""
        own = self.preprocessing
        return own.channels, own.height, own.width

    @property
    def most_samples(self) -> int:
        """How many held-out pictures runtimes are compared with."""
        channels, height, width = self.picture
        most = min(SAMPLES, max(SAMPLE_BYTES // (4 * channels * height * width), 16))
        return min(most, self.held_out_pictures)

    def epoch_notes(self) -> list[str]:
        """See `Data.epoch_notes`."""
        left_out = [bad.described() for bad in (self.bad_training, self.bad_held_out) if bad.names]
        return [*left_out, *self._notes_of_workers]

    def kept(self) -> dict[str, Any]:
        """See `Data.kept`."""
        return {"classes": list(self.class_names), "pictures": self.preprocessing.to_dict()}

    def train_on(self, keys: Iterable[list[Any]], epoch: tuple[int, int]) -> Iterator[Batch]:
        """Yield the training batches of `keys`, which belong to `epoch`.

        Raises DataError as `take` does, and if no picture of a batch can be read.
        """
        self.bad_training.begin(epoch)
        for read in self.workers.read(keys):
            x, labels = self.take(read, self.bad_training)
            if not len(labels):
                raise DataError(
                    f"data: no picture of a batch can be read: {', '.join(read.bad)}. Repair or remove them."
                )
            yield x, labels

    def take(self, read: Read, bad: BadPictures) -> Batch:
        """The pictures in `read` as inputs on the device, with labels; `bad` counts those that are bad.

        Raises DataError if there are too many of them, or if the pictures cannot be used.
        """
        if read.wrong:
            raise DataError(read.wrong)
        bad.add(read.bad)
        self._notes_of_workers.update(dict.fromkeys(read.notes))
        x = read.x.to(self.device, non_blocking=True)
        labels = read.labels.to(self.device, non_blocking=True)
        return x if x.is_floating_point() else self.preprocessing.normalized(x), labels
