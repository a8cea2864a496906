"""Keys about the pictures that `fxbin train` reads: where they are, how they become inputs, augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fxbin.config.value_types import (
    Count,
    Flag,
    Magnitude,
    NotNegative,
    NotNull,
    Number,
    Positive,
    Section,
    Seed,
    ShareBelowOne,
    Text,
    Whole,
    problem,
)


class Augmentation(Section):
    """Data augmentation of training images, in this order."""

    crop: Annotated[Positive | None, Field(le=1), NotNull] = None
    """Smallest share of the area that a random crop keeps, such as 0.08; without it, no such crops."""

    rand_augment: Whole = 0
    """Number of random operations of RandAugment (arXiv:1909.13719) on each image."""

    rand_augment_magnitude: Magnitude = 9
    """How strong these operations are."""

    shift: Whole = 0
    """Largest random shift in each direction, in pixels."""

    flip: Flag = False
    """Whether to mirror images left to right, with probability 1/2."""

    mixup: NotNegative = 0.0
    """Alpha of mixup (arXiv:1710.09412), which blends each image and label with another; 0: not at all."""

    cutmix: NotNegative = 0.0
    """Alpha of CutMix (arXiv:1905.04899); beside `mixup`, each batch gets one of them, at random."""


class Pictures(Section):
    """How pictures become inputs of the model: resized, cropped to `input_info.sample_size`, normalized."""

    resize: Annotated[Count | None, NotNull] = None
    """Shorter side in pixels before the centre is cropped; without it, the one to which it is cropped."""

    interpolation: Annotated[Literal["bilinear", "bicubic", "nearest"] | None, NotNull] = None
    """How pixels are computed when pictures are resized; without it, `bilinear`."""

    normalize: Literal["auto", "model", "data", "none"] = "auto"
    """Mean and deviation of the model's own config or of the data; `auto`: of the model if `pretrained`."""

    mean: Annotated[tuple[Number, ...] | None, NotNull] = None
    """Mean of each channel, of pixels from 0 to 1, instead of `normalize`."""

    std: Annotated[tuple[Positive, ...] | None, NotNull] = None
    """Standard deviation of each channel."""

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        """Refuse a mean without a deviation, and two ways to normalize."""
        if (self.mean is None) != (self.std is None):
            given, missing = ("mean", "std") if self.std is None else ("std", "mean")
            raise problem(f'"{missing}" beside it', f'Add "{missing}", or remove this one.', (given,))
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise problem('as many numbers as in "mean"', f"There are {len(self.mean)} of those.", ("std",))
        if self.mean is not None and self.normalize != "auto":
            raise problem('none beside "mean" and "std"', "Keep one of them.", ("normalize",))
        return self


class DataKeys(Section):
    """Top-level keys about the data, which `fxbin train` reads."""

    data: Text = "mnist"
    """`mnist`, `fashion-mnist`, `folder:…`, `idx:…`, `torchvision:…`, `hf:…`, `wds:…` or `file.py:…`."""

    data_dir: Annotated[Text | None, NotNull] = None
    """Folder of the data set's files, if it is not where its package installs them."""

    data_held_out: Annotated[Text | None, NotNull] = None
    """Where the held-out pictures are, if `data` does not say it: a folder, shards, or a split."""

    held_out_share: Annotated[Positive, Field(lt=1)] = 0.2
    """Share of each class that is held out, if nothing else says which pictures are."""

    split_seed: Seed = 0
    """Seed that selects them."""

    workers: Annotated[Whole | None, NotNull] = None
    """Processes that read pictures, for each process that trains; without it, by the number of cores."""

    shuffle_buffer: Count = 2000
    """Undecoded pictures among which a stream draws its next one, in each process that trains."""

    bad_pictures: ShareBelowOne = 0.01
    """Largest share of pictures that may be left out because they cannot be read."""

    checkpoint_every: Annotated[Count | None, NotNull] = None
    """Optimizer steps from one checkpoint within an epoch to the next; without it, one after each epoch."""

    pictures: Pictures = Pictures()
    """How pictures become inputs of the model."""

    augmentation: Augmentation = Augmentation()
    """Data augmentation of training images."""
