"""Pictures in folders, one for each class: the layouts that torchvision's `ImageFolder` reads."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import filterfalse
from pathlib import Path

import torch
from torch import Tensor

from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.decode import SUFFIXES
from fxbin.train.data.picture_set import Parts, Selected, Texts
from fxbin.train.data.split import classes_without, split_by_name

TRAINING = "train"
HELD_OUT = ("val", "test", "validation", "valid")
"""Names of the splits that are trained on, and held out."""

TRAINING_FOLDERS = (TRAINING, "training")
HELD_OUT_FOLDERS = (*HELD_OUT, "testing")
"""Names of the folders that hold these, beside each other, in upper or lower case."""


class FolderPictures:
    """The pictures in a folder that has a folder for each class, which may have folders itself.

    Pictures are in the order of their names, class by class; labels are those of `class_names`.
    Raises DataError if a class folder has no pictures, or is not one of `class_names`.
    """

    def __init__(self, root: Path, class_names: tuple[str, ...]) -> None:
        found: list[str] = []
        labels: list[int] = []
        every = []
        for label, name in enumerate(class_names):
            inside = files_in(root / name)
            if not inside.pictures:
                raise DataError(
                    f"data: the class folder {root / name} has no pictures (files that end in "
                    f"{', '.join(SUFFIXES)}): add some, or remove the folder."
                )
            found += [f"{name}{os.sep}{file}" for file in inside.pictures]
            labels += [label] * len(inside.pictures)
            every.append(inside)
        self.root = str(root)
        self.labels: Tensor = torch.tensor(labels)
        self.left_out = left_out(self.root, every)
        """Notes about what else is in the folders."""
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

    def names(self) -> Iterator[str]:
        """What each picture is recognized by: its path from the folder, the same on every system."""
        return (file.replace(os.sep, "/") for file in self._files)


def part_folders(path: Path) -> tuple[Path | None, Path | None]:
    """The folder in `path` to train on, and that of the held-out pictures; None for one that is not there.

    Raises DataError if several may be meant, or if all that `path` has is held-out pictures.
    """
    inside = folders_in(path)[0]
    training, held_out = parts_in(inside)
    alike = [name for name in held_out if name.lower() == held_out[0].lower()]
    for names in (training, alike):
        if len(names) > 1:
            raise DataError(
                f"data: {path} has the folders {listed(names)}, and it is not clear which is meant: rename "
                "or join them, or write 'folder:' with one of them, and data_held_out."
            )
    if held_out and not training and len(held_out) == len(inside):
        raise DataError(
            f"data: {path} has {listed(inside)}, but no folder {TRAINING!r} with pictures to train on. Add "
            f"it, or write 'folder:{path / held_out[0]}' to split the pictures in that."
        )
    return path / training[0] if training else None, path / held_out[0] if held_out else None


def parts_in(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of the folders `names` may be to train on, and which held out, the one to take first.

    >>> parts_in(["TEST", "Train", "val"])
    (['Train'], ['val', 'TEST'])
    """
    training, held_out = (
        [name for known in parts for name in names if name.lower() == known]
        for parts in (TRAINING_FOLDERS, HELD_OUT_FOLDERS)
    )
    return training, held_out


def find_folders(path: Path, held_out: Path | None) -> tuple[Path, Path | None]:
    """The folder to train on and that of the held-out pictures; None if those are a share of the first.

    Raises DataError if one does not exist, or it is not clear which it is.
    """
    for folder in (path, held_out):
        if folder is not None and not folder.is_dir():
            key = "data" if folder is path else "data_held_out"
            raise DataError(f"{key}: the folder {folder} does not exist (looked from {Path.cwd()}).")
    training, beside = part_folders(path)
    if training is None:
        return path, held_out
    if held_out is None and beside is None:
        raise DataError(
            f"data: {path} has the folder {training.name!r} but none of {', '.join(HELD_OUT_FOLDERS)}. Add "
            f"one, name one with data_held_out, or write 'folder:{training}' to hold out a share of that."
        )
    return training, held_out or beside


def is_hidden(name: str) -> bool:
    """Whether a file or folder is what systems and programs keep beside those of the user."""
    return name.startswith(".") or name == "__MACOSX"


@contextmanager
def must_be_listed() -> Iterator[None]:
    """Turn an error of the system in looking into folders, as without permission, into DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the folder {error.filename} cannot be listed: {error.strerror}. Change its permissions (r and "
            "x are needed to list a folder and to open what is in it), or remove it."
        ) from error


def folders_in(root: Path) -> tuple[list[str], list[str]]:
    """The names of the folders in `root`, in their order, and of those that are hidden.

    Raises DataError if it cannot be listed.
    """
    with must_be_listed(), os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [name for name in names if not is_hidden(name)], list(filter(is_hidden, names))


def files_beside(root: Path) -> list[str]:
    """The names of the files in `root` that are not hidden, in their order."""
    with must_be_listed(), os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not entry.is_dir() and not is_hidden(entry.name))


def class_folders(root: Path, least: int) -> tuple[str, ...]:
    """The names of the class folders in `root`, in their order.

    Raises DataError if there are fewer than `least`.
    """
    names = folders_in(root)[0]
    if len(names) < least:
        has = f"only the folder {names[0]!r}" if names else "no folders"
        raise DataError(
            f"data: {root} has {has}, expected a folder of pictures for each class"
            f"{', at least two' if least > 1 else ''}."
        )
    return tuple(names)


@dataclass(frozen=True)
class Inside:
    """What is in a folder and below it."""

    pictures: list[str]
    """Paths of the pictures from the folder, in order."""

    others: int
    """Number of files that are no pictures by the ends of their names."""

    hidden: list[str]
    """Hidden folders, which are left out."""

    again: list[str]
    """Links, which are left out, to folders that are read already, or that this one is in."""


def files_in(folder: Path) -> Inside:
    """What is in `folder` and in those below it, also behind links; hidden files do not count at all.

    Raises DataError if one of them cannot be listed.
    """
    with must_be_listed():
        return _files_in(folder)


def _files_in(folder: Path) -> Inside:
    top = os.path.join(folder, "")  # noqa: PTH118  (with a separator at the end)
    found = Inside([], 0, [], [])
    others, above = 0, (folder.absolute(), folder.resolve())
    seen = {place_of(str(place)) for path in above for place in (path, *path.parents)}
    for place, folders, files in os.walk(top, onerror=_raised, followlinks=True):
        own = os.path.join(place, "")  # noqa: PTH118
        for name in sorted(folders):
            if is_hidden(name):
                found.hidden.append(own + name)
                folders.remove(name)
            elif (inside := place_of(own + name)) in seen:
                found.again.append(own + name)
                folders.remove(name)
            else:
                seen.add(inside)
        folders.sort()
        for file in sorted(filterfalse(is_hidden, files)):
            if file.lower().endswith(SUFFIXES):
                found.pictures.append(own[len(top) :] + file)
            else:
                others += 1
    return replace(found, others=others)


def _raised(error: OSError) -> None:
    raise error


def place_of(folder: str) -> tuple[int, int]:
    """What tells whether two paths are one folder."""
    found = os.stat(folder)  # noqa: PTH116  (there may be a folder for each of many classes)
    return found.st_dev, found.st_ino


def left_out(root: str, every: Iterable[Inside]) -> list[str]:
    """Notes about what is in folders below `root` and is not read."""
    others, hidden, again = 0, [], []
    for inside in every:
        others += inside.others
        hidden += inside.hidden
        again += inside.again
    notes = []
    if others:
        files = "file is" if others == 1 else "files are"
        notes.append(f"{others} {files} left out in {root}, by the ends of their names no pictures")
    if hidden:
        notes.append(f"hidden folders are left out: {listed(hidden)}")
    if again:
        notes.append(f"links to folders that are read already are left out: {listed(again)}")
    return notes


def open_folder(path: Path, held_out: Path | None, share: float, seed: int) -> Parts:
    """The pictures below `path`; without held-out ones, `share` of each class chosen by name and `seed`.

    One class will do where all pictures are evaluated, as `held_out` is where the others are.
    Raises DataError if folders are missing or empty, if the held-out pictures have a class of their own, or
    as `split_by_name` does.
    """
    root, other = find_folders(path, held_out)
    names = class_folders(root, least=1 if other == root else 2)
    training = FolderPictures(root, names)
    if other is None:
        chosen, rest = split_by_name(training.labels, training.names(), share, seed, str(root))
        lacking = classes_without(training.labels[rest], names)
        notes = tuple(_notes(root, training, lacking))
        return Parts(names, Selected(training, chosen), Selected(training, rest), notes)
    of_other = class_folders(other, least=1)
    unknown = sorted(set(of_other) - set(names))
    if unknown:
        raise DataError(
            f"data: {other} has the class folders {listed(unknown)}, which {root} lacks: classes to be "
            "evaluated need pictures to train on."
        )
    held = FolderPictures(other, of_other)
    held.labels = torch.tensor([names.index(name) for name in of_other])[held.labels]
    lacking = [name for name in names if name not in of_other]
    each = dict.fromkeys((*_notes(root, training, lacking), *_notes(other, held, [])))
    return Parts(names, training, held, tuple(each))


def _notes(root: Path, pictures: FolderPictures, lacking: list[str]) -> Iterator[str]:
    yield from (f"data: {note}" for note in pictures.left_out)
    if hidden := folders_in(root)[1]:
        yield f"data: hidden folders are no classes: {listed(hidden)} in {root}"
    if beside := files_beside(root):
        are = (
            "a file beside the class folders is" if len(beside) == 1 else "files beside the class folders are"
        )
        yield f"data: {are} left out: {listed(beside)} in {root}"
    if lacking:
        yield f"data: no held-out pictures of {listed(lacking)}"
