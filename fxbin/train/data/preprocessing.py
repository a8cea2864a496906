"""How a picture becomes an input of the model: resized, cropped and normalized."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
        steps = _steps()
        size = [self.height, self.width]

        def transform(picture: Any) -> Tensor:
            resized = steps.resize(picture, self.cover(picture), self._mode(), antialias=True)
            return steps.to_tensor(steps.center_crop(resized, size))

        return transform

    def for_training(self, augmentation: Augmentation) -> Transform:
        """Resize and crop, at random where `augmentation` says so, then the rest of it."""
        v2 = import_v2()
        to_tensor, first = _steps().to_tensor, self._first(augmentation)
        random_ones: list[Callable[[Any], Any]] = []
        if augmentation.rand_augment:
            random_ones.append(v2.RandAugment(augmentation.rand_augment, augmentation.rand_augment_magnitude))
        if augmentation.shift:
            random_ones.append(v2.RandomCrop((self.height, self.width), padding=augmentation.shift))
        if augmentation.flip:
            random_ones.append(v2.RandomHorizontalFlip())

        def transform(picture: Any) -> Tensor:
            picture = first(picture)
            for step in random_ones:
                picture = step(picture)
            return to_tensor(picture)

        return transform

    def _first(self, augmentation: Augmentation) -> Callable[[Any], Any]:
        """From a picture of any size to one of the model's size."""
        if augmentation.crop is None:
            return self.for_evaluation()
        scale, size = (augmentation.crop, 1.0), (self.height, self.width)
        crop: Callable[[Any], Any] = import_v2().RandomResizedCrop(
            size, scale=scale, interpolation=self._mode(), antialias=True
        )
        return crop

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

    def _mode(self) -> Any:
        from torchvision.transforms import InterpolationMode

        return InterpolationMode(self.interpolation)


@dataclass(frozen=True)
class _Steps:
    """Functions of torchvision for PIL pictures and tensors."""

    resize: Callable[..., Any]
    center_crop: Callable[[Any, list[int]], Any]
    to_tensor: Callable[[Any], Tensor]


def _steps() -> _Steps:
    functional = import_v2().functional

    def to_tensor(picture: Any) -> Tensor:
        tensor: Tensor = picture if isinstance(picture, Tensor) else functional.pil_to_tensor(picture)
        return tensor

    return _Steps(functional.resize, functional.center_crop, to_tensor)


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
