"""Training batches in an order that depends only on seed and epoch, so that any epoch can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fxbin.train.data.sizes import batch_sizes, check_enough


@dataclass(frozen=True)
class Batches:
    """The training images in batches, shuffled for each epoch, shifted and mirrored at random.

    There are no worker processes: the images are in memory, and a generator seeded by `seed` and the epoch
    gives the same batches whether or not earlier epochs were run in this process.

    Errors: DataError if there are fewer images than ranks.
    """

    images: Tensor
    """All training images, ``(n, c, h, w)``."""

    labels: Tensor
    """Class of each image, ``(n,)``, int64."""

    batch_size: int
    """Images per batch, over all ranks together."""

    shift: int = 0
    """Largest random shift of an image in each direction, in pixels."""

    flip: bool = False
    """Whether each image is mirrored left to right with probability 1/2."""

    seed: int = 0
    """Seed of the order and of the augmentation."""

    rank: int = 0
    """Index of the part of each batch that `epoch` yields, from 0."""

    ranks: int = 1
    """Number of parts into which each batch is divided, one for each training process."""

    def __post_init__(self) -> None:
        check_enough(len(self.images), self.batch_size, self.ranks)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self._sizes())

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's part of each batch ``(x, y)``, in the order of epoch `number` (any integer).

        The first `start` batches are left out; the others are what they would be after them.
        The parts of the ranks differ in size by at most one image. Together they are the batch that a single
        process would get, with the same shifts and mirroring.
        """
        # The random numbers of those left out have to be drawn, and their pictures are in memory anyway.
        return islice(self._whole_epoch(number), start, None)

    def _whole_epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        # On the CPU, wherever the images are: its random numbers are the same on every machine.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(len(self.images), generator=generator)
        for chosen in order.split(self._sizes()):
            index = chosen.to(self.images.device)
            # The whole batch is augmented, as each part depends on its random numbers and darkest value.
            x, y = self._augment(self.images[index], generator), self.labels[index]
            yield x.tensor_split(self.ranks)[self.rank], y.tensor_split(self.ranks)[self.rank]

    def division(self) -> list[int]:
        """See `TrainingBatches.division`: nothing, as each process gets its part of the same batches."""
        return []

    def divided(self, division: list[int]) -> Self:  # noqa: ARG002  (the same for all)
        """See `TrainingBatches.divided`."""
        return self

    def _sizes(self) -> list[int]:
        """Sizes of the batches. Left-over images form a last, smaller batch, unless a rank would get none."""
        return batch_sizes(len(self.images), self.batch_size, self.ranks)

    def _augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.flip:
            mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
            x = torch.where(mirrored.to(x.device), x.flip(3), x)
        return random_shift(x, self.shift, generator) if self.shift else x


def random_shift(x: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `limit` pixels in each direction, filling with the batch's darkest value.

    Shapes: x and result ``(n, c, h, w)``.
    """
    n, _, height, width = x.shape
    padded = F.pad(x, (limit,) * 4, value=float(x.min())) if n else x
    top, left = torch.randint(0, 2 * limit + 1, (2, n, 1), generator=generator).to(x.device)
    rows = (top + torch.arange(height, device=x.device))[:, :, None]
    columns = (left + torch.arange(width, device=x.device))[:, None, :]
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded[image, :, rows, columns].permute(0, 3, 1, 2).contiguous()
