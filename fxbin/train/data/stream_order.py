"""Which samples of a stream make which batch: arithmetic alone, so that any epoch can be begun anywhere."""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, TypeVar

from fxbin.train.data.seeds import seed_of
from fxbin.train.data.sizes import part_size

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """How the samples of an epoch are divided among processes, and within a process among lanes.

    A lane is read by one worker from its beginning to its end; it is neither a worker nor a process, so that
    the same lanes can be read by other numbers of them.
    """

    ranks: int
    lanes: int


class Run(NamedTuple):
    """Consecutive samples of a shard."""

    shard: int
    skip: int
    """Samples of the shard before them."""

    number: int


class Piece(NamedTuple):
    """What a lane gives to a batch: its samples from `first` on, in its own order, `number` of them."""

    rank: int
    lane: int
    first: int
    number: int
    begin: int
    """Of these, the ones from `begin` on are wanted,"""

    end: int
    """up to `end`."""


def runs(counts: Sequence[int], order: Sequence[int], start: int, stop: int) -> Iterator[Run]:
    """The samples from `start` to `stop` of the shards in this `order`, laid end to end.

    >>> list(runs([3, 2], [1, 0], 1, 4))
    [Run(shard=1, skip=1, number=1), Run(shard=0, skip=0, number=2)]
    """
    ends = list(accumulate(counts[shard] for shard in order))
    place = bisect_right(ends, start)
    while start < stop:
        begin = ends[place] - counts[order[place]]
        upto = min(stop, ends[place])
        if upto > start:
            yield Run(order[place], start - begin, upto - start)
        start, place = upto, place + 1


def shard_order(shards: int, seed: int, epoch: int) -> list[int]:
    """The shards in the order of an epoch."""
    order = list(range(shards))
    random.Random(seed_of(seed, epoch)).shuffle(order)  # noqa: S311  (nothing secret)
    return order


def shuffled(items: Iterable[T], size: int, seed: int) -> Iterator[T]:
    """Yield `items` in an order drawn with `seed`: each next one of the `size` that have come but not gone.

    >>> sorted(shuffled(range(5), 2, 0))
    [0, 1, 2, 3, 4]
    """
    generator = random.Random(seed)  # noqa: S311  (nothing secret)
    waiting: list[T] = []
    for item in items:
        if len(waiting) < size:
            waiting.append(item)
            continue
        place = int(generator.random() * size)
        yield waiting[place]
        waiting[place] = item
    while waiting:
        place = int(generator.random() * len(waiting))
        waiting[place], waiting[-1] = waiting[-1], waiting[place]
        yield waiting.pop()


class StreamOrder:
    """The lanes of `layout`, in which each sample of an epoch is once, and the pieces of each batch.

    `sizes` are those of the batches of all processes together. The batches of a process come from its lanes
    in turn, and each lane has the samples of its batches, next to each other.
    """

    def __init__(self, sizes: Sequence[int], layout: Layout) -> None:
        self.sizes = sizes
        self.layout = layout
        totals = [
            sum(number * part_size(size, rank, layout.ranks) for size, number in Counter(sizes).items())
            for rank in range(layout.ranks)
        ]
        self._starts = [0, *accumulate(totals)]
        self._firsts: dict[int, list[int]] = {}
        self._lengths: dict[int, list[int]] = {}

    def lane(self, rank: int, lane: int) -> tuple[int, int]:
        """First and last but one sample of a lane, in the order of the epoch's shards, laid end to end."""
        self._measure(rank)
        before = self._starts[rank] + sum(self._lengths[rank][:lane])
        return before, before + self._lengths[rank][lane]

    def pieces(self, batch: int, rank: int, ranks: int) -> list[Piece]:
        """What process `rank` of `ranks` gets of a batch, whatever the layout's number of processes."""
        size = self.sizes[batch]
        start = sum(part_size(size, other, ranks) for other in range(rank))
        stop = start + part_size(size, rank, ranks)
        found, place = [], 0
        for owner in range(self.layout.ranks):
            own = part_size(size, owner, self.layout.ranks)
            begin, end = max(start - place, 0), min(stop - place, own)
            if begin < end:
                self._measure(owner)
                lane = batch % self.layout.lanes
                found.append(Piece(owner, lane, self._firsts[owner][batch], own, begin, end))
            place += own
        return found

    def _measure(self, rank: int) -> None:
        """Find where each batch of a process begins in its lane, and how long its lanes are."""
        if rank in self._firsts:
            return
        lengths, firsts = [0] * self.layout.lanes, []
        for batch, size in enumerate(self.sizes):
            lane = batch % self.layout.lanes
            firsts.append(lengths[lane])
            lengths[lane] += part_size(size, rank, self.layout.ranks)
        self._firsts[rank], self._lengths[rank] = firsts, lengths
