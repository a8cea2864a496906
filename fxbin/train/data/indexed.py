"""Data sets of other libraries, and of the user, whose items are a picture and its label."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.picture_set import Parts, Selected, names_by_position
from fxbin.train.data.reader import WrongPictureError
from fxbin.train.data.split import classes_without, split_by_name

LABELS = ("targets", "labels", "_labels", "y")
"""Attributes in which torchvision's data sets, and those made like them, hold all labels."""


class IndexedPictures:
    """The pictures of `dataset`, whose items by position are pairs of a picture and a label."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset = dataset
        self._name = name

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.dataset)

    def read(self, index: int) -> tuple[Any, Any]:
        """The picture at `index` and its label."""
        return pair_of(self.dataset[index])

    def where(self, index: int) -> str:
        """The file, if the data set has a list of them, else the position."""
        files = getattr(self.dataset, "samples", None)
        if isinstance(files, Sequence) and index < len(files) and isinstance(files[index], tuple):
            return str(files[index][0])
        return f"picture {index} of {self._name}"

    def names(self) -> Iterator[str]:
        """What each picture is recognized by: its position."""
        return names_by_position(len(self))


def pair_of(item: Any) -> tuple[Any, Any]:
    """Picture and label of an item of the user's; raises WrongPictureError if it is no pair."""
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    if isinstance(item, Mapping):
        keys = [str(key) for key in item]
        example = keys if len(keys) == 2 else ["image", "label"]
        raise WrongPictureError(
            f"got a dict with the keys {listed(keys)}, expected a pair, the picture and its label: return "
            f"{', '.join(f'item[{key!r}]' for key in example)}."
        )
    raise WrongPictureError(f"got a {type(item).__name__}, expected a pair, the picture and its label.")


def labels_of(dataset: Any) -> Tensor | None:
    """All labels of `dataset`, if it has them as a list: ``(n,)``."""
    for name in LABELS:
        found = getattr(dataset, name, None)
        if found is not None and not callable(found) and len(found) == len(dataset):
            try:
                return torch.as_tensor(found).flatten()
            except (TypeError, ValueError, RuntimeError):
                continue
    return None


def names_of(dataset: Any, num_classes: int | None, name: str) -> tuple[str, ...]:
    """The names of the classes of `dataset`; their numbers, if it has no `classes`.

    Raises DataError if nothing tells how many there are.
    """
    classes = getattr(dataset, "classes", None)
    if isinstance(classes, Sequence) and classes:
        return told_apart(
            [", ".join(map(str, c)) if isinstance(c, tuple | list) else str(c) for c in classes]
        )
    labels = labels_of(dataset)
    if labels is not None and len(labels):
        return tuple(map(str, range(int(labels.max()) + 1)))
    if num_classes is not None:
        return tuple(map(str, range(num_classes)))
    raise DataError(
        f"data: {name} does not tell its classes: give it an attribute `classes`, a list of names, or write "
        "num_classes."
    )


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """`names` by label, those that several classes have with the label: ImageNet has two kinds of cranes.

    >>> told_apart(["crane", "dog", "crane"])
    ('crane (0)', 'dog', 'crane (2)')
    """
    counts = Counter(names)
    return tuple(f"{name} ({label})" if counts[name] > 1 else name for label, name in enumerate(names))


def split_parts(dataset: Any, names: tuple[str, ...], name: str, share: float, seed: int) -> Parts:
    """`dataset` in two: all but `share` of each class, and that share, chosen by position and `seed`.

    Raises DataError if it does not tell its labels, or as `split_by_name` does.
    """
    labels = labels_of(dataset)
    if labels is None:
        raise DataError(
            f"data: {name} has no held-out pictures, and none can be chosen, as it has no list of its labels "
            f"(`targets`). Name a split with data_held_out."
        )
    chosen, rest = split_by_name(labels, map(str, range(len(labels))), share, seed, name)
    lacking = classes_without(labels[rest], names)
    notes = (f"data: no held-out pictures of {', '.join(lacking[:5])}",) if lacking else ()
    pictures = IndexedPictures(dataset, name)
    return Parts(names, Selected(pictures, chosen), Selected(pictures, rest), notes)
