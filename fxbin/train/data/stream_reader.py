"""Reads the batches of a stream in a worker process, which keeps its place in the shards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from fxbin.errors import DataError
from fxbin.train.data.preprocessing import Preprocessing, Transform
from fxbin.train.data.reader import Item, Read, Use, gather
from fxbin.train.data.seeds import seed_of
from fxbin.train.data.shards import Sample, samples
from fxbin.train.data.stream_order import Layout, Piece, StreamOrder, runs, shard_order, shuffled


@dataclass(frozen=True)
class Shards:
    """The shards to train on or those that are held out, and how many samples each has."""

    urls: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(self.counts)

    def read(
        self, start: int, stop: int, tell: Callable[[str], None], order: Sequence[int] | None = None
    ) -> Iterator["Placed"]:
        """Yield the samples from `start` to `stop` of the shards in this `order`, laid end to end.

        `tell` is called with a note about each shard that has more samples than were counted.
        """
        firsts = [0] * len(self.counts)
        for shard in range(1, len(self.counts)):
            firsts[shard] = firsts[shard - 1] + self.counts[shard - 1]
        for run in runs(self.counts, range(len(self.counts)) if order is None else order, start, stop):
            url, count = self.urls[run.shard], self.counts[run.shard]
            reaches_end = run.skip + run.number == count
            tell_more = partial(_tell_grown, tell, url, count) if reaches_end else None
            found = samples(url, run.skip, run.number, tell_more)
            for offset, sample in enumerate(found, firsts[run.shard] + run.skip):
                yield Placed(sample, offset)


def _tell_grown(tell: Callable[[str], None], url: str, counted: int, now: int) -> None:
    tell(
        f"data: the shard {url} has {now} samples, and had {counted} when they were counted: only these are "
        "read. Start again to read all of them, as they are counted anew then."
    )


class Placed(NamedTuple):
    """A sample, and its position in all shards in the order of their names."""

    sample: Sample
    position: int


class TrainingKey(NamedTuple):
    """Which batch to read of an epoch, and what part of it."""

    use: Use
    seed: int
    epoch: int
    sizes: tuple[tuple[int, int], ...]
    """The sizes of the epoch's batches: each with the number of batches that have it, one after another."""

    layout: Layout
    batch: int
    rank: int
    ranks: int


class HeldOutKey(NamedTuple):
    """Which held-out samples to read."""

    start: int
    stop: int


@dataclass
class _Place:
    """Where a lane, or the held-out samples, are being read."""

    of: tuple[object, ...]
    """What is read."""

    next: int
    """The sample of it that comes next."""

    samples: Iterator[Placed]


class StreamReader(Dataset[Read]):
    """Reads batches of shards by lists of one key; None stands for nothing.

    Each worker keeps the lanes open that it has read from, and goes on there if the next batch follows.
    Elsewhere it begins anew, and skips samples without decoding them.
    """

    def __init__(
        self,
        training: Shards,
        held_out: Shards,
        class_names: tuple[str, ...],
        preprocessing: Preprocessing,
        transform: Transform,
        buffer: int,
    ) -> None:
        self._training = training
        self._held_out = held_out
        self._labels = {name: label for label, name in enumerate(class_names)}
        self._plain = preprocessing.for_evaluation()
        self._transform = transform
        self._shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        self._buffer = buffer
        self._places: dict[object, _Place] = {}
        self._orders: dict[tuple[object, ...], StreamOrder] = {}
        self._notes: dict[str, None] = {}
        """What the trainer has not been told yet."""

    def __getitems__(self, keys: Sequence[TrainingKey | HeldOutKey | None]) -> Read:
        """The samples of the key in `keys` that can be read."""
        (key,) = keys
        try:
            if key is None:
                items: list[Item] = []
            elif isinstance(key, HeldOutKey):
                items = [self._item(placed, self._plain, ()) for placed in self._held_out_samples(key)]
            else:
                transform = self._transform if key.use == Use.TRAINING else self._plain
                seeds = (key.seed, key.epoch)
                items = [self._item(placed, transform, seeds) for placed in self._training_samples(key)]
        except DataError as error:
            return Read(torch.empty(0), torch.empty(0), wrong=str(error))
        read = gather(items, self._shape, len(self._labels))
        read.notes, self._notes = [*self._notes], {}
        return read

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _item(self, placed: Placed, transform: Transform, seeds: tuple[int, ...]) -> Item:
        sample = placed.sample
        label = self._labels.get(sample.label, sample.label)
        return Item(
            partial(str, sample.where), lambda: (sample.picture, label), transform, (*seeds, placed.position)
        )

    def _held_out_samples(self, key: HeldOutKey) -> list[Placed]:
        return self._take("held out", (), key.start, key.stop, partial(self._held_out_from, key.start))

    def _held_out_from(self, start: int) -> Iterator[Placed]:
        return self._held_out.read(start, self._held_out.samples, self._note)

    def _training_samples(self, key: TrainingKey) -> list[Placed]:
        order = self._order(key)
        found: list[Placed] = []
        for piece in order.pieces(key.batch, key.rank, key.ranks):
            what = (key.seed, key.epoch, key.sizes, key.layout)
            first = piece.first
            read = self._take(
                (piece.rank, piece.lane),
                what,
                first,
                first + piece.number,
                partial(self._lane, key, order, piece),
            )
            found += read[piece.begin : piece.end]
        return found

    def _lane(self, key: TrainingKey, order: StreamOrder, piece: Piece) -> Iterator[Placed]:
        """The samples of a lane from the first of `piece` on, in its own order."""
        shards = self._training
        of_epoch = shard_order(len(shards.urls), key.seed, key.epoch)
        in_order = shards.read(*order.lane(piece.rank, piece.lane), self._note, of_epoch)
        buffer = max(self._buffer // key.layout.lanes, 1)
        seed = seed_of(key.seed, key.epoch, piece.rank, piece.lane)
        return islice(shuffled(in_order, buffer, seed), piece.first, None)

    def _order(self, key: TrainingKey) -> StreamOrder:
        what = (key.sizes, key.layout)
        if what not in self._orders:
            sizes = [size for size, number in key.sizes for _ in range(number)]
            self._orders = {what: StreamOrder(sizes, key.layout)}
        return self._orders[what]

    def _take(
        self, name: object, of: tuple[object, ...], start: int, stop: int, begin: "partial[Iterator[Placed]]"
    ) -> list[Placed]:
        """The samples from `start` to `stop` of what is called `name`; `begin` opens it at `start`."""
        place = self._places.get(name)
        if place is None or place.of != of or place.next != start:
            if place is not None and place.of != of:
                # Another epoch: none of the lanes of the last one is needed any more.
                self._places = {key: kept for key, kept in self._places.items() if kept.of in ((), of)}
            place = self._places[name] = _Place(of, start, begin())
        place.next = stop
        found = list(islice(place.samples, stop - start))
        if len(found) < stop - start:
            self._places.pop(name)
            raise DataError(f"data: {stop - start - len(found)} samples are missing in the shards.")
        return found
