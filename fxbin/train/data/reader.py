"""Reads the pictures of a batch, in a worker process or in the trainer's own."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fxbin.errors import DataError
from fxbin.train.data.decode import BadPictureError, as_mode, decode, why
from fxbin.train.data.picture_set import Parts, PictureSet
from fxbin.train.data.preprocessing import Preprocessing, Transform
from fxbin.train.data.seeds import random_state_kept, seed_globally

SHOWN_NAMES = 3

NOT_FINITE = (
    "the inputs have values that are not finite (nan or inf), expected numbers. Look at how they are made, "
    "for example for a division by 0."
)
"""What is wrong with an input of the model, for messages."""


class Use(IntEnum):
    """What a picture is read for."""

    TRAINING = 0
    """A picture to train on, augmented."""

    PLAIN = 1
    """A picture to train on, as it would be evaluated."""

    HELD_OUT = 2
    """A held-out picture."""


class Key(NamedTuple):
    """Which picture to read, and the seed of its augmentation."""

    use: Use
    position: int
    seed: int = 0
    epoch: int = 0


@dataclass
class Read:
    """The pictures of a part of a batch that could be read."""

    x: Tensor
    """uint8 ``(n, c, h, w)`` to be normalized, or inputs of the model in a floating-point dtype."""

    labels: Tensor
    """``(n,)``, int64."""

    bad: list[str] = field(default_factory=list)
    """The others: the name of each and why it cannot be read."""

    wrong: str = ""
    """Why these pictures cannot be used at all, which is an error; empty if they can."""

    notes: list[str] = field(default_factory=list)
    """What the user should know about where they come from."""

    def pin_memory(self) -> "Read":
        """For DataLoader: the same in pinned memory."""
        return replace(self, x=self.x.pin_memory(), labels=self.labels.pin_memory())


class WrongPictureError(Exception):
    """A picture or a label that a set may not contain."""


class Reader(Dataset[Read]):
    """Reads pictures of `parts` by lists of `Key`, each with random numbers of its own seed, epoch and index.

    `preprocessing` makes them the model's size, and `training` does that and augments them.
    """

    def __init__(self, parts: Parts, preprocessing: Preprocessing, training: Transform) -> None:
        self._sets: tuple[PictureSet, ...] = (parts.training, parts.training, parts.held_out)
        plain = preprocessing.for_evaluation()
        self._transforms = (training, plain, plain)
        self._shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        self._classes = len(parts.class_names)

    def __getitems__(self, keys: Sequence[Key]) -> Read:
        """The pictures of `keys` that can be read."""
        return gather((self._item(key) for key in keys), self._shape, self._classes)

    def _item(self, key: Key) -> "Item":
        pictures = self._sets[key.use]
        return Item(
            partial(pictures.where, key.position),
            partial(read_from, pictures, key.position),
            self._transforms[key.use],
            (key.seed, key.epoch, key.position),
        )


class Item(NamedTuple):
    """A picture that is to be read."""

    where: Callable[[], str]
    """How messages call it."""

    read: Callable[[], tuple[Any, Any]]
    """Picture and label, as `PictureSet.read` describes them."""

    transform: Transform
    seeds: tuple[int, ...]
    """Seeds of its random numbers."""


def gather(items: Iterable[Item], shape: tuple[int, int, int], classes: int) -> Read:
    """Read `items` as inputs of `shape` ``(c, h, w)``; labels are below `classes`.

    The global random state is kept. What should be an error is told by the result, as an exception in a
    worker process would reach the user with the traceback of that process.
    """
    pictures: list[Tensor] = []
    labels: list[int] = []
    bad: list[str] = []
    with random_state_kept():
        for item in items:
            seed_globally(*item.seeds)
            try:
                picture, label = item.read()
                pictures.append(as_input(picture, item.transform, shape))
                labels.append(as_label(label, classes))
            except BadPictureError as error:
                bad.append(f"{item.where()} ({error})")
            except WrongPictureError as error:
                return Read(torch.empty(0), torch.empty(0), wrong=f"data: {item.where()}: {error}")
    x = torch.stack(pictures) if pictures else torch.empty(0, *shape, dtype=torch.uint8)
    return Read(x, torch.tensor(labels, dtype=torch.int64), bad)


def read_from(pictures: PictureSet, index: int) -> tuple[Any, Any]:
    """What `pictures` has at `index`; raises BadPictureError if reading it fails."""
    try:
        return pictures.read(index)
    except (BadPictureError, WrongPictureError):
        raise
    # The user's own code may read it, which can fail with any kind of error.
    except Exception as error:
        raise BadPictureError(f"{type(error).__name__}: {why(error)}") from error


def as_input(picture: Any, transform: Transform, shape: tuple[int, int, int]) -> Tensor:
    """`picture`, as `PictureSet.read` describes it, in the model's `shape` ``(c, h, w)``.

    Raises BadPictureError if it cannot be decoded, WrongPictureError if it is none.
    """
    if isinstance(picture, Tensor):
        if picture.is_floating_point() and tuple(picture.shape) == shape:
            if not torch.isfinite(picture).all():
                raise WrongPictureError(NOT_FINITE)
            return picture.float()
        if picture.dtype == torch.uint8 and picture.ndim == 3 and picture.shape[0] == shape[0]:
            return transform(picture)
        raise WrongPictureError(
            f"got a tensor {tuple(picture.shape)} of {picture.dtype}, expected uint8 ({shape[0]}, height, "
            f"width), or floating-point numbers of input_info.sample_size, {shape}."
        )
    if hasattr(picture, "convert") and hasattr(picture, "mode"):
        try:
            image = as_mode(picture, shape[0])
        except Exception as error:
            raise BadPictureError(why(error)) from error
    elif isinstance(picture, bytes) or hasattr(picture, "__fspath__"):
        image = decode(picture, shape[0])
    else:
        raise WrongPictureError(
            f"got a {type(picture).__name__}, expected a PIL picture, a tensor (c, h, w), or the path or "
            "bytes of a file."
        )
    return transform(image)


def as_label(label: Any, classes: int) -> int:
    """`label` as an int; raises WrongPictureError if it is not the number of one of the `classes`."""
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = -1
    if isinstance(label, float) or not 0 <= number < classes:
        raise WrongPictureError(f"the label is {label!r}, expected a whole number from 0 to {classes - 1}.")
    return number


class BadPictures:
    """Counts pictures that cannot be read, up to a share of all."""

    def __init__(self, what: str, pictures: int, share: float) -> None:
        self._what = what
        self._pictures = pictures
        self._share = share
        self._epoch: object = None
        self.names: dict[str, None] = {}
        """Those of this epoch."""

    def begin(self, epoch: object) -> None:
        """Forget what was counted, unless it was in the same `epoch`, of which a part is read again."""
        if epoch != self._epoch:
            self._epoch = epoch
            self.names.clear()

    def add(self, names: Sequence[str]) -> None:
        """Count `names`; raises DataError if there are too many by now."""
        self.names.update(dict.fromkeys(names))
        if len(self.names) > self._share * self._pictures:
            raise DataError(
                f"data: {self.described()}. At most {self._share:g} of them may be left out (bad_pictures): "
                "repair or remove these files, or raise the share."
            )

    def described(self) -> str:
        """How many there are, and the first of them."""
        names = sorted(self.names)
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        return (
            f"{len(names)} of {self._pictures} {self._what} pictures cannot be read: "
            f"{', '.join(names[:SHOWN_NAMES])}{more}"
        )
