"""A data set whose pictures are all in memory, as tensors."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxbin.config import Config
from fxbin.train.data.batches import Batches
from fxbin.train.data.interface import EVALUATION_BATCH, Batch, TrainingBatches
from fxbin.train.data.mixing import with_mixing
from fxbin.train.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageData:
    """A data set split into training and test images, kept in memory.

    Shapes: images (`train_x`, `test_x`) ``(n, channels, height, width)``, float32, normalized to mean 0 and
    standard deviation 1 over the data set; labels (`train_y`, `test_y`) ``(n,)``, int64, from 0.
    """

    name: str
    """Name of the data set, as `data` in a config."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    """Number of classes."""

    class_names: tuple[str, ...] = ()
    """The name of each class; without them, the labels."""

    notes: tuple[str, ...] = ()
    """What the user should know about the pictures."""

    preprocessing: Preprocessing | None = None
    """How pictures become inputs of the model, which are these in memory; None if that is not known."""

    def __post_init__(self) -> None:
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(self.classes))))

    @property
    def channels(self) -> int:
        """Number of channels of an image: 1 for grey images."""
        return self.train_x.shape[1]

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width

    @property
    def training_pictures(self) -> int:
        """Number of images to train on."""
        return len(self.train_y)

    @property
    def training_counts(self) -> tuple[int, ...]:
        """See `Data.training_counts`."""
        return (self.training_pictures,)

    @property
    def held_out_pictures(self) -> int:
        """Number of test images."""
        return len(self.test_y)

    def to(self, device: torch.device) -> "ImageData":
        """Return a copy with its tensors on `device`."""
        tensors = {
            name: getattr(self, name).to(device) for name in ("train_x", "train_y", "test_x", "test_y")
        }
        return replace(self, **tensors)

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """See `Data.training`."""
        augmentation = config.augmentation
        batches = Batches(
            self.train_x,
            self.train_y,
            config.batch_size,
            augmentation.shift,
            augmentation.flip,
            seed,
            rank=rank,
            ranks=ranks,
        )
        return with_mixing(batches, augmentation, config.num_classes or self.classes, seed, rank)

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """See `Data.held_out`."""
        parts = zip(self.test_x.split(EVALUATION_BATCH), self.test_y.split(EVALUATION_BATCH), strict=True)
        yield from list(parts)[rank::ranks]

    def samples(self, limit: int | None = None) -> Batch:
        """The first `limit` test images; all without a limit."""
        return self.test_x[:limit], self.test_y[:limit]

    def epoch_notes(self) -> list[str]:
        """Nothing: the images have been read."""
        return []

    def kept(self) -> dict[str, Any] | None:
        """See `Data.kept`; None where fxbin knows the data set by its name."""
        if self.preprocessing is None:
            return None
        return {"classes": list(self.class_names), "pictures": self.preprocessing.to_dict()}
