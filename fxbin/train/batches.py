"""Batches in an order that depends on seed and epoch alone, so that any epoch can be replayed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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

    def __len__(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.images) / self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, in the order of epoch `number` (any integer, also a negative one)."""
        # On the CPU wherever the images are: its random numbers are the same on every machine.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(len(self.images), generator=generator)
        for chosen in order.split(self.batch_size):
            index = chosen.to(self.images.device)
            yield self._augment(self.images[index], generator), self.labels[index]

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
