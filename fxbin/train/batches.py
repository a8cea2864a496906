"""Batches in an order that depends on seed and epoch alone, so that any epoch can be replayed."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fxbin.errors import DataError


@dataclass(frozen=True)
class Batches:
    """The training images, shuffled anew for each epoch and shifted a little at random.

    There are no worker processes: the images are in memory, and a generator seeded by `seed` and
    the epoch gives the same batches whether or not the epochs before were run in this process.
    """

    images: Tensor
    """``(n, c, h, w)``."""

    labels: Tensor
    """``(n,)``."""

    batch_size: int
    shift: int = 0
    """Each picture is moved by up to this many pixels in each direction."""

    flip: bool = False
    """Whether each picture is mirrored left to right with probability 1/2."""

    seed: int = 0

    rank: int = 0
    """Which part of each batch `epoch` gives, from 0."""

    ranks: int = 1
    """In how many parts each batch is divided, one for each process that trains."""

    def __post_init__(self) -> None:
        if len(self.images) < self.ranks:
            raise DataError(f"{len(self.images)} images are too few for {self.ranks} processes")

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._sizes())

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, in the order of epoch `number` (any integer, also a negative one).

        Of each batch the part of this rank: the parts differ by at most one image, and together they are
        the batch that a single process would get, moved and mirrored alike.
        """
        # On the CPU wherever the images are: its random numbers are the same on every machine.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(len(self.images), generator=generator)
        for chosen in order.split(self._sizes()):
            index = chosen.to(self.images.device)
            # All of the batch, as each part needs random numbers and the darkest value of the whole.
            x, y = self._augment(self.images[index], generator), self.labels[index]
            yield x.tensor_split(self.ranks)[self.rank], y.tensor_split(self.ranks)[self.rank]

    def _sizes(self) -> list[int]:
        """Images in each batch. What is left over is a last, smaller one, unless a rank would get nothing."""
        whole, rest = divmod(len(self.images), self.batch_size)
        sizes = [self.batch_size] * whole
        if rest >= self.ranks or not whole:
            return [*sizes, rest] if rest else sizes
        sizes[-1] += rest
        return sizes

    def _augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.flip:
            mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
            x = torch.where(mirrored.to(x.device), x.flip(3), x)
        return random_shift(x, self.shift, generator) if self.shift else x


def random_shift(x: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Move each picture by up to `limit` pixels, with its batch's darkest value coming in.

    Shapes: ``(n, c, h, w)`` to the same.
    """
    n, _, height, width = x.shape
    padded = F.pad(x, (limit,) * 4, value=float(x.min())) if n else x
    top, left = torch.randint(0, 2 * limit + 1, (2, n, 1), generator=generator).to(x.device)
    rows = (top + torch.arange(height, device=x.device))[:, :, None]
    columns = (left + torch.arange(width, device=x.device))[:, None, :]
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded[image, :, rows, columns].permute(0, 3, 1, 2).contiguous()
