"""WebDataset shards, streamed: each process reads its own part of them, from the beginning to the end."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.train.data.interface import EVALUATION_BATCH, Batch, TrainingBatches
from fxbin.train.data.kept import kept_of_held_out
from fxbin.train.data.loader import worker_count
from fxbin.train.data.mixing import with_mixing
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import Use
from fxbin.train.data.shard_index import class_names_of, count_shards
from fxbin.train.data.shards import expand, is_file, path_of
from fxbin.train.data.sizes import batch_sizes, check_enough
from fxbin.train.data.stream_order import Layout
from fxbin.train.data.stream_reader import HeldOutKey, Shards, StreamReader, TrainingKey
from fxbin.train.data.worker_data import LEAST, WorkerData

LANES = 16
"""Lanes of a process, at most: as many workers can read at the same time."""


@dataclass(frozen=True)
class Streams:
    """The shards of a data set."""

    class_names: tuple[str, ...]
    training: Shards
    held_out: Shards


def open_streams(config: Config, pattern: str) -> Streams:
    """The shards that `data` and `data_held_out` name.

    Raises DataError if some are missing, damaged or empty, or if held-out classes are not trained on.
    """
    if config.data_held_out is None:
        raise DataError(
            f"data: {config.data!r} names the shards to train on. Name those that are held out with "
            '"data_held_out": "wds:PATTERN".'
        )
    if not pattern:
        raise DataError(
            "data: 'wds:' names no shards, expected 'wds:PATTERN', as in 'wds:train-{000..146}.tar'."
        )
    urls = expand("data", pattern)
    held_out_urls = expand("data_held_out", config.data_held_out.removeprefix("wds:"))
    counted = count_shards([*urls, *held_out_urls])
    training, held_out = counted[: len(urls)], counted[len(urls) :]
    return Streams(
        class_names_of(training, held_out),
        Shards(tuple(urls), tuple(shard.samples for shard in training)),
        Shards(tuple(held_out_urls), tuple(shard.samples for shard in held_out)),
    )


def lane_count(shards: Shards, ranks: int) -> int:
    """Lanes of each of `ranks` processes: a power of 2, so that the usual numbers of workers divide it.

    Of shards that cannot be begun in the middle, as many as there are for a process.
    """
    most = LANES if all(map(is_file, shards.urls)) else max(min(LANES, len(shards.urls) // ranks), 1)
    return 1 << (most.bit_length() - 1)


def stream_workers(asked: int | None, lanes: int) -> int:
    """The largest number of workers, up to the one that is asked for, among which lanes can be divided."""
    wanted = min(worker_count(asked), lanes)
    return max((workers for workers in range(1, wanted + 1) if lanes % workers == 0), default=0)


class StreamData(WorkerData):
    """See `Data`."""

    def __init__(
        self,
        streams: Streams,
        preprocessing: Preprocessing,
        config: Config,
        device: torch.device | None = None,
        ranks: int = 1,
    ) -> None:
        lanes = lane_count(streams.training, ranks)
        self.reading = stream_workers(config.workers, lanes)
        self.layout = Layout(ranks, lanes)
        super().__init__(
            StreamReader(
                streams.training,
                streams.held_out,
                streams.class_names,
                preprocessing,
                preprocessing.for_training(config.augmentation),
                config.shuffle_buffer,
            ),
            preprocessing,
            config,
            device or torch.device("cpu"),
            class_names=streams.class_names,
            pictures=(streams.training.samples, streams.held_out.samples),
            workers=self.reading,
        )
        self.training_counts = streams.training.counts
        self._streams = streams
        self._ranks = ranks
        self._samples: dict[int | None, Batch] = {}

    def to(self, device: torch.device) -> "StreamData":
        """See `Data.to`."""
        if device == self.device:
            return self
        return StreamData(self._streams, self.preprocessing, self.config, device, self._ranks)

    def kept(self) -> dict[str, Any]:
        """See `Data.kept`; shards are recognized by their names, if they are files, and samples."""
        shards = zip(self._streams.held_out.urls, self._streams.held_out.counts, strict=True)
        names = (
            f"{position} of {count} in {path_of(url).name if is_file(url) else 'a stream'}"
            for url, count in shards
            for position in range(count)
        )
        return super().kept() | kept_of_held_out(names, is_share=False)

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """See `Data.training`."""
        check_enough(self.training_pictures, config.batch_size, ranks)
        layout = Layout(ranks, lane_count(self._streams.training, ranks))
        batches = StreamBatches(self, config.batch_size, seed, rank, ranks, layout)
        classes = config.num_classes or len(self.class_names)
        return with_mixing(batches, config.augmentation, classes, seed, rank)

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """See `Data.held_out`; a process evaluates batches that follow each other."""
        self.bad_held_out.names.clear()
        every = self._held_out_batches(self.held_out_pictures)
        start, stop = (len(every) * place // ranks for place in (rank, rank + 1))
        yield from self._evaluated(every[start:stop])

    def samples(self, limit: int | None = None) -> Batch:
        """See `Data.samples`; they are the first of the held-out pictures."""
        if limit not in self._samples:
            wanted = min(limit or self.most_samples, self.held_out_pictures)
            batches = list(self._evaluated(self._held_out_batches(wanted)))
            if not batches:
                raise DataError(f"data: {self.bad_held_out.described()}.")
            x, labels = zip(*batches, strict=True)
            self._samples[limit] = torch.cat(x), torch.cat(labels)
        return self._samples[limit]

    def plain_training(self, count: int) -> Iterator[Tensor]:
        """Yield batches of about `count` training pictures, uint8, without augmentation."""
        size = min(EVALUATION_BATCH, self.config.batch_size)
        batches = StreamBatches(self, size, 0, 0, 1, Layout(1, self.layout.lanes))
        for read in self.workers.read(batches.keys(Use.PLAIN, 0, 0, -(-count // size))):
            self.take(read, self.bad_training)
            yield read.x

    def _held_out_batches(self, count: int) -> list[HeldOutKey]:
        size = min(EVALUATION_BATCH, self.config.batch_size)
        return [HeldOutKey(start, min(start + size, count)) for start in range(0, count, size)]

    def _evaluated(self, keys: list[HeldOutKey]) -> Iterator[Batch]:
        for read in self.workers.read([key] for key in dealt(keys, self.reading)):
            x, labels = self.take(read, self.bad_held_out)
            if len(labels):
                yield x, labels


def dealt(keys: list[HeldOutKey], workers: int) -> Iterator[HeldOutKey | None]:
    """`keys` in an order in which workers, who are asked in turn, each read some that follow each other.

    >>> [key and key.start for key in dealt([HeldOutKey(i, i + 1) for i in range(5)], 2)]
    [0, 2, 1, 3, None, 4]
    """
    workers = max(workers, 1)
    ends = [len(keys) * worker // workers for worker in range(workers + 1)]
    for step in range(max(end - start for start, end in pairwise(ends))):
        for start, end in pairwise(ends):
            yield keys[start + step] if start + step < end else None


@dataclass
class StreamBatches:
    """See `TrainingBatches`. An epoch that was begun with one `layout` can go on with others of processes."""

    data: StreamData
    batch_size: int
    seed: int
    rank: int
    ranks: int
    layout: Layout
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = batch_sizes(self.data.training_pictures, self.batch_size, self.layout.ranks, LEAST)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.sizes)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """See `TrainingBatches.epoch`."""
        keys = self.keys(Use.TRAINING, number, start, len(self.sizes))
        return self.data.train_on(keys, (self.seed, number))

    def division(self) -> list[int]:
        """See `TrainingBatches.division`."""
        return [self.layout.ranks, self.layout.lanes]

    def divided(self, division: list[int]) -> Self:
        """See `TrainingBatches.divided`."""
        return replace(self, layout=Layout(*division))

    def keys(self, use: Use, number: int, start: int, stop: int) -> Iterator[list[TrainingKey]]:
        """The keys of the batches from `start` to `stop`."""
        sizes = tuple(Counter(self.sizes).items())  # those of one size follow each other
        for batch in range(start, min(stop, len(self.sizes))):
            yield [TrainingKey(use, self.seed, number, sizes, self.layout, batch, self.rank, self.ranks)]
