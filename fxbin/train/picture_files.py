"""Pictures in files and folders, read in batches as inputs of a network; what is no picture is named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fxbin.train.data.decode import SUFFIXES, BadPictureError, decode
from fxbin.train.data.preprocessing import Preprocessing

BATCH = 64
"""Pictures that are in memory at once."""


@dataclass(frozen=True)
class ReadPictures:
    """Some files, and the inputs of those that are pictures."""

    files: tuple[Path, ...]
    """The files that are pictures."""

    x: Tensor
    """Their inputs ``(n, c, h, w)``."""

    bad: dict[Path, str]
    """The other files, and why they cannot be read."""


def picture_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files in `paths`, and the pictures in the folders among them, also in inner ones, by name.

    In a folder the ending of a name decides what is a picture; a file that is named itself counts always, and
    so does a folder without pictures, which `read_pictures` then calls bad.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        )
        yield from inside or [path]


def read_pictures(
    files: Sequence[Path], preprocessing: Preprocessing, device: torch.device | str = "cpu"
) -> Iterator[ReadPictures]:
    """Yield `files` in batches, on `device`, made inputs of the network as `preprocessing` says."""
    transform = preprocessing.for_evaluation()
    for start in range(0, len(files), BATCH):
        good: list[Path] = []
        pictures: list[Tensor] = []
        bad: dict[Path, str] = {}
        for file in files[start : start + BATCH]:
            try:
                if file.is_dir():
                    raise BadPictureError(f"a folder without files that end in {', '.join(SUFFIXES)}")
                pictures.append(transform(decode(file, preprocessing.channels)))
            except BadPictureError as error:
                bad[file] = str(error)
            else:
                good.append(file)
        shape = (0, preprocessing.channels, preprocessing.height, preprocessing.width)
        x = torch.stack(pictures) if pictures else torch.empty(shape, dtype=torch.uint8)
        yield ReadPictures(tuple(good), preprocessing.normalized(x.to(device)), bad)
