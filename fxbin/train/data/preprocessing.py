"""How a picture becomes an input of the model: resized, cropped and normalized."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fxbin.config.data import Augmentation
from fxbin.errors import DataError
from fxbin.train.data.decode import decode
from fxbin.train.torchvision_operators import declare_operators

Transform = Callable[[Any], Tensor]
"""From a PIL picture, or a uint8 tensor ``(c, h, w)``, to such a tensor of the model's size."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to each picture, whether the model learns from it or predicts."""

    channels: int
    """3 for RGB, 1 for grey."""

    height: int
    width: int
    """The size of the model's input, in pixels."""

    resize: int
    """Length to which the shorter side of a picture is resized before its centre is cropped, in pixels."""

    interpolation: str = "bilinear"
    """``"bilinear"``, ``"bicubic"`` or ``"nearest"``."""

    mean: tuple[float, ...] = (0.0,)
    """Of each channel, of pixels from 0 to 1."""

    std: tuple[float, ...] = (1.0,)
    """Of each channel."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_dict`."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def read(self, source: Any) -> Tensor:
        """The model's input ``(c, h, w)`` for the picture in the file or bytes `source`.

        Raises BadPictureError if it cannot be read.
        """
        return self.normalized(self.for_evaluation()(decode(source, self.channels))[None])[0]

    def normalized(self, pictures: Tensor) -> Tensor:
        """uint8 pictures ``(n, c, h, w)`` as float32 inputs of the model, on their device."""
        std = torch.tensor(self.std, device=pictures.device).view(-1, 1, 1)
        mean = torch.tensor(self.mean, device=pictures.device).view(-1, 1, 1)
        # In place from the first result on, and one multiplication: it is done for every batch.
        return pictures.float().mul_(1 / (255 * std)).sub_(mean / std)

    def for_evaluation(self) -> Transform:
        """Resize, crop the centre."""
        return Plain(self)

    def for_training(self, augmentation: Augmentation) -> Transform:
        """Resize and crop, at random where `augmentation` says so, then the rest of it."""
        v2, size = import_v2(), (self.height, self.width)
        steps: list[Callable[[Any], Any]] = [Plain(self)]
        if augmentation.crop is not None:
            scale = (augmentation.crop, 1.0)
            steps = [v2.RandomResizedCrop(size, scale=scale, interpolation=self.mode, antialias=True)]
        if augmentation.rand_augment:
            steps.append(v2.RandAugment(augmentation.rand_augment, augmentation.rand_augment_magnitude))
        if augmentation.shift:
            steps.append(v2.RandomCrop(size, padding=augmentation.shift))
        if augmentation.flip:
            steps.append(v2.RandomHorizontalFlip())
        return Augmented(steps)

    def cover(self, picture: Any) -> list[int]:
        """Height and width to which `picture` is resized, so that the model's size can be cropped from it.

        For a square size, that is torchvision's ``Resize(resize)``: the shorter side becomes `resize`.
        """
        own_height, own_width = picture.shape[-2:] if isinstance(picture, Tensor) else picture.size[::-1]
        shorter = min(self.height, self.width)
        height, width = self.height * self.resize // shorter, self.width * self.resize // shorter
        if height * own_width >= width * own_height:
            return [height, max(width, height * own_width // own_height)]
        return [max(height, width * own_height // own_width), width]

    @property
    def mode(self) -> Any:
        """The interpolation, as torchvision has it."""
        from torchvision.transforms import InterpolationMode

        return InterpolationMode(self.interpolation)


# Classes, as workers may be started with a copy of what they need, which cannot hold a function's function.
@dataclass(frozen=True)
class Plain:
    """Resizes a picture and crops its centre."""

    preprocessing: Preprocessing

    def __call__(self, picture: Any) -> Tensor:
        """The picture in the model's size, as uint8."""
        own, functional = self.preprocessing, import_v2().functional
        resized = functional.resize(picture, own.cover(picture), own.mode, antialias=True)
        return as_tensor(functional.center_crop(resized, [own.height, own.width]))


@dataclass(frozen=True)
class Augmented:
    """Takes `steps` one after another; the first gives a picture the model's size."""

    steps: list[Callable[[Any], Any]]

    def __call__(self, picture: Any) -> Tensor:
        """The picture in the model's size, as uint8."""
        for step in self.steps:
            picture = step(picture)
        return as_tensor(picture)


def as_tensor(picture: Any) -> Tensor:
    """A PIL picture as a uint8 tensor ``(c, h, w)``; a tensor as it is."""
    tensor: Tensor = picture if isinstance(picture, Tensor) else import_v2().functional.pil_to_tensor(picture)
    return tensor


@cache
def import_v2() -> Any:
    """Torchvision's transforms; raises DataError if it is not installed, or built for another torch."""
    declare_operators()
    try:
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:
        raise DataError(
            f"data: pictures in files need torchvision and pillow, which cannot be imported: {error}. "
            "Install them with `pip install 'fxbin[data]'`, from the index that torch came from."
        ) from error
    return v2
