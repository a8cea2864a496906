"""A set of labelled pictures that can be read in any order, which every source but a stream is made into."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor


class PictureSet(Protocol):
    """Labelled pictures by position. It is copied to worker processes, so it should share what is large."""

    def __len__(self) -> int:
        """Number of pictures."""

    def read(self, index: int) -> tuple[Any, Any]:
        """The picture at `index` and its label.

        A picture is a PIL picture, the path or the bytes of a file, a uint8 tensor ``(c, h, w)``, or a
        floating-point tensor, which is the model's input as it is.
        """

    def where(self, index: int) -> str:
        """How messages call the picture: its file, or its position in the set."""

    def names(self) -> Iterable[str]:
        """What each picture is recognized by the next time that the set is opened."""


@dataclass(frozen=True)
class Parts:
    """What a source consists of."""

    class_names: tuple[str, ...]
    training: PictureSet
    held_out: PictureSet
    notes: tuple[str, ...] = ()
    """What the user should know, a line each."""

    @property
    def is_split(self) -> bool:
        """Whether the held-out pictures are a share of those that there are."""
        return isinstance(self.held_out, Selected)


class Selected:
    """Some pictures of another set."""

    def __init__(self, pictures: PictureSet, indices: Tensor) -> None:
        self._pictures = pictures
        self._indices = indices

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._indices)

    def read(self, index: int) -> tuple[Any, Any]:
        """The picture at `index` and its label."""
        return self._pictures.read(int(self._indices[index]))

    def where(self, index: int) -> str:
        """How messages call the picture."""
        return self._pictures.where(int(self._indices[index]))

    def names(self) -> Iterator[str]:
        """What each picture is recognized by."""
        chosen = torch.zeros(len(self._pictures), dtype=torch.bool)
        chosen[self._indices] = True
        return compress(self._pictures.names(), chosen.tolist())


def names_by_position(count: int) -> Iterator[str]:
    """Names for the pictures of a set of `count` that have none: another number makes all of them others."""
    return (f"{position} of {count}" for position in range(count))


class Texts(Sequence[str]):
    """A list of texts in one block of memory, which processes share for good.

    A list of millions of str is copied by each process that only reads it, as reading counts references.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        lengths = torch.tensor([0, *map(len, encoded)], dtype=torch.int64)
        self._ends = lengths.cumsum(0)
        self._block = b"".join(encoded)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        """All texts, which is faster than one by one."""
        for start, end in pairwise(self._ends.tolist()):
            yield self._block[start:end].decode("utf-8", "surrogateescape")

    def __getitem__(self, index: Any) -> Any:
        """The text at `index`."""
        start, end = int(self._ends[index]), int(self._ends[index + 1])
        return self._block[start:end].decode("utf-8", "surrogateescape")
