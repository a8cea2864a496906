"""Pictures in folders, one for each class: the layouts that torchvision's `ImageFolder` reads."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.decode import SUFFIXES
from fxbin.train.data.picture_set import Parts, Selected, Texts
from fxbin.train.data.split import classes_without, stratified_split

TRAINING = "train"
HELD_OUT = ("val", "test", "validation", "valid")
"""Names of the folders that hold what is trained on, and what is held out, beside each other."""


class FolderPictures:
    """The pictures in a folder that has a folder for each class, which may have folders itself.

    Pictures are in the order of their names, class by class; labels are those of `class_names`.
    Raises DataError if a class folder has no pictures, or is not one of `class_names`.
    """

    def __init__(self, root: Path, class_names: tuple[str, ...]) -> None:
        found: list[str] = []
        labels: list[int] = []
        left_out = 0
        for label, name in enumerate(class_names):
            pictures, others = files_in(root / name)
            if not pictures:
                raise DataError(
                    f"data: the class folder {root / name} has no pictures (files that end in "
                    f"{', '.join(SUFFIXES)}): add some, or remove the folder."
                )
            found += pictures
            labels += [label] * len(pictures)
            left_out += others
        self.root = str(root)
        self.labels: Tensor = torch.tensor(labels)
        self.left_out = left_out
        self._files = Texts(found)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._files)

    def read(self, index: int) -> tuple[Path, int]:
        """The file of the picture at `index`, and its label."""
        return Path(self.where(index)), int(self.labels[index])

    def where(self, index: int) -> str:
        """The path of the file."""
        return os.path.join(self.root, self._files[index])  # noqa: PTH118  (Path takes longer, for millions)


def find_folders(path: Path, held_out: Path | None) -> tuple[Path, Path | None]:
    """The folder to train on and that of the held-out pictures; None if those are a share of the first.

    Raises DataError if one does not exist, or it is not clear which it is.
    """
    for folder in (path, held_out):
        if folder is not None and not folder.is_dir():
            key = "data" if folder is path else "data_held_out"
            raise DataError(f"{key}: the folder {folder} does not exist (looked from {Path.cwd()}).")
    training = path / TRAINING
    if not training.is_dir():
        return path, held_out
    if held_out is not None:
        return training, held_out
    beside = [path / name for name in HELD_OUT if (path / name).is_dir()]
    if not beside:
        raise DataError(
            f"data: {path} has the folder {TRAINING!r} but none of {', '.join(HELD_OUT)}. Add one, name one "
            f"with data_held_out, or write 'folder:{training}' to hold out a share of that."
        )
    return training, beside[0]


def class_folders(root: Path) -> tuple[str, ...]:
    """The names of the class folders in `root`, in their order.

    Raises DataError if there are fewer than two.
    """
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        has = f"only the folder {names[0]!r}" if names else "no folders"
        raise DataError(
            f"data: {root} has {has}, expected a folder of pictures for each class, at least two."
        )
    return tuple(names)


def files_in(folder: Path) -> tuple[list[str], int]:
    """Pictures in `folder` and below, as paths from its parent, in order; and the number of other files."""
    found: list[str] = []
    others, above = 0, len(str(folder.parent)) + 1
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(SUFFIXES):
                found.append(f"{place}{os.sep}{file}"[above:])
            elif not file.startswith("."):
                others += 1
    return found, others


def open_folder(path: Path, held_out: Path | None, share: float, seed: int) -> Parts:
    """The pictures below `path`; without held-out ones, `share` of each class drawn with `seed`.

    Raises DataError if folders are missing or empty, or if the held-out pictures have a class of their own.
    """
    root, other = find_folders(path, held_out)
    names = class_folders(root)
    training = FolderPictures(root, names)
    if other is None:
        chosen, rest = stratified_split(training.labels, share, seed)
        if not len(rest):
            raise DataError(
                f"held_out_share: {share:g} of each class in {root} is less than a picture: raise "
                "it, or name a folder of held-out pictures with data_held_out."
            )
        lacking = classes_without(training.labels[rest], names)
        notes = tuple(_notes(root, training, lacking))
        return Parts(names, Selected(training, chosen), Selected(training, rest), notes)
    of_other = class_folders(other)
    unknown = sorted(set(of_other) - set(names))
    if unknown:
        raise DataError(
            f"data: {other} has the class folders {listed(unknown)}, which {root} lacks: classes to be "
            "evaluated need pictures to train on."
        )
    held = FolderPictures(other, of_other)
    held.labels = torch.tensor([names.index(name) for name in of_other])[held.labels]
    lacking = [name for name in names if name not in of_other]
    return Parts(names, training, held, (*_notes(root, training, lacking), *_notes(other, held, [])))


def _notes(root: Path, pictures: FolderPictures, lacking: list[str]) -> Iterator[str]:
    if pictures.left_out:
        files = "file is" if pictures.left_out == 1 else "files are"
        yield f"data: {pictures.left_out} {files} left out in {root}, by the ends of their names no pictures"
    if lacking:
        yield f"data: no held-out pictures of {listed(lacking)}"
