"""Data sets of Hugging Face's package `datasets`, by name or from a local folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.folder import HELD_OUT, TRAINING
from fxbin.train.data.picture_set import Parts, PictureSet, Selected, names_by_position
from fxbin.train.data.split import split_by_name

ON_DISK = ("dataset_dict.json", "state.json")
"""Files in a folder that `save_to_disk` wrote."""

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


class HubPictures:
    """The pictures of a `datasets.Dataset`, which stays in files that processes share."""

    def __init__(self, dataset: Any, picture: str, label: str, name: str) -> None:
        from datasets import Image

        # Their bytes, so that pictures are decoded like all others.
        self._dataset = dataset.cast_column(picture, Image(decode=False)).select_columns([picture, label])
        self._picture = picture
        self._label = label
        self._name = name

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._dataset)

    def read(self, index: int) -> tuple[Any, Any]:
        """The picture at `index`, undecoded, and its label."""
        row = self._dataset[index]
        content = row[self._picture]
        return content["bytes"] or Path(content["path"] or ""), row[self._label]

    def where(self, index: int) -> str:
        """Its position in the split."""
        return f"picture {index} of {self._name}"

    def names(self) -> Iterator[str]:
        """What each picture is recognized by: its position."""
        return names_by_position(len(self))

    def labels(self) -> torch.Tensor:
        """All labels: ``(n,)``."""
        return torch.tensor(list(self._dataset.with_format(None)[self._label]))


def open_hub(config: Config, name: str) -> Parts:
    """The data set `name`, ``NAME``, ``NAME:SUBSET`` or a folder.

    Raises DataError if `datasets` is not installed, it cannot be loaded, or it has no labelled pictures.
    """
    spelled = f"hf:{name}"
    splits = _load(name, spelled)
    if TRAINING not in splits:
        raise DataError(f"data: {spelled!r} has no split 'train', only {listed(sorted(splits))}.")
    training = splits[TRAINING]
    picture, label, names = _columns(training, spelled, config.num_classes)
    pictures = HubPictures(training, picture, label, f"{spelled}, {TRAINING}")
    wanted = config.data_held_out
    if wanted is not None and wanted not in splits:
        raise DataError(
            f"data_held_out: {spelled!r} has no split {wanted!r}, expected one of {listed(sorted(splits))}."
        )
    chosen = wanted or next((split for split in HELD_OUT if split in splits), None)
    if chosen is not None:
        held_out: PictureSet = HubPictures(splits[chosen], picture, label, f"{spelled}, {chosen}")
        return Parts(names, pictures, held_out)
    positions = map(str, range(len(pictures)))
    rest, some = split_by_name(
        pictures.labels(), positions, config.held_out_share, config.split_seed, spelled
    )
    return Parts(names, Selected(pictures, rest), Selected(pictures, some))


def _load(name: str, spelled: str) -> dict[str, Any]:
    """The splits of the data set, by name."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data: {spelled!r} needs the package datasets: `pip install 'fxbin[datasets]'`."
        ) from error
    path = Path(name).expanduser()
    try:
        if any((path / file).is_file() for file in ON_DISK):
            found = datasets.load_from_disk(str(path))
        elif path.exists():
            found = datasets.load_dataset(str(path))
        else:
            repository, _, subset = name.partition(":")
            found = datasets.load_dataset(repository, subset or None)
    # It raises errors of its own and of what it downloads with, too many to list.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"data: {spelled!r} is no folder (looked from {Path.cwd()}), and cannot be loaded by name: "
            f"{reason}"
        ) from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {TRAINING: found}


def _columns(dataset: Any, spelled: str, num_classes: int | None) -> tuple[str, str, tuple[str, ...]]:
    """The columns of pictures and of labels, and the names of the classes."""
    from datasets import ClassLabel, Image

    features = dataset.features
    pictures = [name for name, kind in features.items() if isinstance(kind, Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    labels = labels or [name for name in LABEL_COLUMNS if name in features]
    if not pictures or not labels:
        raise DataError(
            f"data: {spelled!r} has the columns {listed(list(features))}, expected one of pictures "
            "(datasets.Image) and one of labels (datasets.ClassLabel)."
        )
    kind = features[labels[0]]
    if isinstance(kind, ClassLabel):
        return pictures[0], labels[0], tuple(kind.names)
    count = num_classes or max(dataset.with_format(None)[labels[0]]) + 1
    return pictures[0], labels[0], tuple(map(str, range(count)))
