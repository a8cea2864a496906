"""Data sets without positions, of the user: one sample after another, in the same order in all processes."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.train.data.indexed import pair_of
from fxbin.train.data.interface import EVALUATION_BATCH, Batch, TrainingBatches
from fxbin.train.data.kept import kept_of_held_out
from fxbin.train.data.loader import worker_count
from fxbin.train.data.mixing import with_mixing
from fxbin.train.data.picture_set import names_by_position
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import Item, Read, Use, gather
from fxbin.train.data.seeds import random_state_kept, seed_globally
from fxbin.train.data.sizes import check_enough, part_size
from fxbin.train.data.worker_batches import WorkerBatches
from fxbin.train.data.worker_data import WorkerData


class SequenceKey(NamedTuple):
    """Which samples to read: those from `begin` to `end`, and to go on after `stop`."""

    use: Use
    seed: int
    epoch: int
    begin: int
    end: int
    stop: int


@dataclass
class _Place:
    of: tuple[int, int]
    next: int
    items: Iterator[Any]


class SequenceReader(Dataset[Read]):
    """Reads samples of `training` and `held_out` by lists of one key, in order; begins anew to go back."""

    def __init__(
        self,
        training: Any,
        held_out: Any,
        preprocessing: Preprocessing,
        config: Config,
        classes: int,
        name: str,
    ) -> None:
        plain = preprocessing.for_evaluation()
        self._sets = (training, training, held_out)
        self._transforms = (preprocessing.for_training(config.augmentation), plain, plain)
        self._shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        self._classes = classes
        self._name = name
        self._places: dict[bool, _Place] = {}
        self._notes: list[str] = []
        """What the trainer has not been told yet."""

    def __getitems__(self, keys: Sequence[SequenceKey]) -> Read:
        """The samples of the key in `keys` that can be read."""
        (key,) = keys
        try:
            with random_state_kept():
                found = self._take(key)
        except DataError as error:
            return Read(torch.empty(0), torch.empty(0), wrong=str(error))
        items = (self._item(key, position, item) for position, item in enumerate(found, key.begin))
        read = gather(items, self._shape, self._classes)
        read.notes, self._notes = self._notes, []
        return read

    def _item(self, key: SequenceKey, position: int, item: Any) -> Item:
        where = partial("sample {} of {}".format, position, self._name)
        seeds = (key.seed, key.epoch, position, 1)
        return Item(where, partial(pair_of, item), self._transforms[key.use], seeds)

    def _take(self, key: SequenceKey) -> list[Any]:
        is_held_out, of = key.use == Use.HELD_OUT, (key.seed, key.epoch)
        place = self._places.get(is_held_out)
        if place is None or place.of != of or place.next > key.begin:
            dataset = self._sets[key.use]
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(key.epoch)
            seed_globally(*of)
            place = self._places[is_held_out] = _Place(of, 0, iter(dataset))
        found = []
        for position in range(place.next, key.stop):
            # Of its own each, so that what it draws does not depend on what was read before it.
            seed_globally(*of, position)
            try:
                item = next(place.items)
            except StopIteration:
                raise DataError(
                    f"data: {self._name} ended after {position} samples, but its length is more than that."
                ) from None
            # What iterates ends with an error, unlike a picture that cannot be read.
            except Exception as error:
                raise DataError(
                    f"data: sample {position} of {self._name} cannot be read: {type(error).__name__}: {error}"
                ) from error
            if key.begin <= position < key.end:
                found.append(item)
        place.next = key.stop
        self._look_beyond(key, place)
        return found

    def _look_beyond(self, key: SequenceKey, place: _Place) -> None:
        """Note if a set goes on after as many samples as its length says, which only the end of it shows."""
        length = len(self._sets[key.use])
        if key.stop < length:
            return
        seed_globally(*place.of, length)
        goes_on = False
        with suppress(Exception):  # nobody needs what comes then
            goes_on = next(place.items, place) is not place
        if goes_on:
            part = "held-out data" if key.use == Use.HELD_OUT else "training data"
            self._notes.append(
                f"data: the {part} of {self._name} go on after {length} samples, which is their length: the "
                "others are not used. Correct `__len__` if they should be"
            )


class SequenceData(WorkerData):
    """See `Data`."""

    def __init__(
        self,
        training: Any,
        held_out: Any,
        class_names: tuple[str, ...],
        preprocessing: Preprocessing,
        config: Config,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(
            SequenceReader(training, held_out, preprocessing, config, len(class_names), config.data),
            preprocessing,
            config,
            device or torch.device("cpu"),
            class_names=class_names,
            pictures=(len(training), len(held_out)),
            # A second one would have to read everything as well.
            workers=min(worker_count(config.workers), 1),
        )
        self._parts = (training, held_out)
        self._samples: dict[int | None, Batch] = {}

    def to(self, device: torch.device) -> "SequenceData":
        """See `Data.to`."""
        if device == self.device:
            return self
        return SequenceData(*self._parts, self.class_names, self.preprocessing, self.config, device)

    def kept(self) -> dict[str, Any]:
        """See `Data.kept`."""
        names = names_by_position(self.held_out_pictures)
        return super().kept() | kept_of_held_out(names, is_share=False)

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """See `Data.training`."""
        check_enough(self.training_pictures, config.batch_size, ranks)
        batches = SequenceBatches(self, config.batch_size, seed, rank, ranks)
        classes = config.num_classes or len(self.class_names)
        return with_mixing(batches, config.augmentation, classes, seed, rank)

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """See `Data.held_out`."""
        self.bad_held_out.names.clear()
        every = range(0, self.held_out_pictures, min(EVALUATION_BATCH, self.config.batch_size))
        yield from self._evaluated(self.held_out_pictures, every[rank::ranks], every.step)

    def samples(self, limit: int | None = None) -> Batch:
        """See `Data.samples`; they are the first of the held-out pictures."""
        if limit not in self._samples:
            wanted = min(limit or self.most_samples, self.held_out_pictures)
            size = min(EVALUATION_BATCH, self.config.batch_size)
            x, labels = zip(*self._evaluated(wanted, range(0, wanted, size), size), strict=True)
            self._samples[limit] = torch.cat(x), torch.cat(labels)
        return self._samples[limit]

    def plain_training(self, count: int) -> Iterator[Tensor]:
        """Yield batches of about `count` training pictures, uint8, without augmentation."""
        size = min(EVALUATION_BATCH, self.config.batch_size)
        upto = min(count, self.training_pictures)
        keys = [
            [SequenceKey(Use.PLAIN, 0, 0, start, min(start + size, upto), min(start + size, upto))]
            for start in range(0, upto, size)
        ]
        for read in self.workers.read(keys):
            self.take(read, self.bad_training)
            if not read.x.is_floating_point():
                yield read.x

    def _evaluated(self, count: int, starts: Sequence[int], size: int) -> Iterator[Batch]:
        keys = (
            [SequenceKey(Use.HELD_OUT, 0, 0, a, min(a + size, count), min(a + size, count))] for a in starts
        )
        for read in self.workers.read(keys):
            x, labels = self.take(read, self.bad_held_out)
            if len(labels):
                yield x, labels


class SequenceBatches(WorkerBatches):
    """See `TrainingBatches`. Each process goes through all samples, and decodes its own."""

    @override
    def keys(self, number: int, start: int) -> Iterator[list[SequenceKey]]:
        place = sum(self.sizes[:start])
        for size in self.sizes[start:]:
            begin = place + sum(part_size(size, rank, self.ranks) for rank in range(self.rank))
            end = begin + part_size(size, self.rank, self.ranks)
            place += size
            yield [SequenceKey(Use.TRAINING, self.seed, number, begin, end, place)]
