"""Reads batches in worker processes, ahead of the trainer."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from fxbin.train.data.reader import Read

MOST_WORKERS = 8
"""Workers by default, at most: more seldom help, and each takes memory."""

T = TypeVar("T")


def worker_count(asked: int | None) -> int:
    """`asked`; without it, one for each core that this process has for itself, up to `MOST_WORKERS`."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class _Lists(Iterable[list[Any]]):
    """The lists of keys that a loader is to read next."""

    def __init__(self) -> None:
        self.lists: Iterable[list[Any]] = ()

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.lists)


class Workers:
    """Reads batches of a data set by lists of keys, in order, in processes that stay from epoch to epoch.

    With `workers` 0, they are read when they are asked for. One iteration at a time: a new one ends the last.
    """

    def __init__(self, reader: Dataset[Read], workers: int, *, pin_memory: bool) -> None:
        self._keys = _Lists()
        self._iterations = 0
        self._loader: DataLoader[Read] = DataLoader(
            reader,
            batch_sampler=self._keys,
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            # One of its own, so that it draws no numbers from the global one, on which dropout depends.
            generator=torch.Generator(),
        )

    def read(self, lists: Iterable[list[Any]]) -> Iterator[Read]:
        """Yield what the reader makes of each list of keys.

        Raises RuntimeError if another iteration was begun meanwhile.
        """
        self._keys.lists = lists
        self._iterations += 1
        own = self._iterations
        for batch in self._loader:
            yield batch
            if own != self._iterations:
                raise RuntimeError("another iteration over the pictures has ended this one")


def _as_it_is(batch: T) -> T:
    """What the reader returns is a batch already."""
    return batch
