"""torchvision's data sets by name, where their files are; nothing is downloaded."""

import inspect
import os
from pathlib import Path
from typing import Any

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.errors.messages import did_you_mean
from fxbin.train.data.folder import HELD_OUT, TRAINING, open_folder
from fxbin.train.data.indexed import IndexedPictures, names_of, split_parts
from fxbin.train.data.picture_set import Parts
from fxbin.train.data.preprocessing import import_v2


def data_folder(config: Config) -> Path:
    """The folder that `data_dir` or the environment variable FXBIN_DATA names; DataError without it."""
    named = config.data_dir or os.environ.get("FXBIN_DATA")
    if not named:
        raise DataError(
            f"data_dir: missing: {config.data!r} needs the folder of its files. Name it with --data-dir, or "
            "with the environment variable FXBIN_DATA."
        )
    return Path(named).expanduser()


def data_set_class(name: str) -> Any:
    """The class `name` of torchvision.datasets; raises DataError if there is none."""
    import_v2()
    from torchvision import datasets

    if name not in datasets.__all__:
        hint = did_you_mean(name, datasets.__all__)
        raise DataError(f"data: torchvision has no data set {name!r}. {hint}".rstrip())
    return getattr(datasets, name)


def open_torchvision(config: Config, name: str) -> Parts:
    """The data set `name` of torchvision, from files in `data_dir`.

    Raises DataError if it is not known, its files are not there, or it is not one of labelled pictures.
    """
    made, root = data_set_class(name), data_folder(config)
    if not root.is_dir():
        raise DataError(f"data_dir: the folder {root} does not exist (looked from {Path.cwd()}).")
    if name == "ImageNet" and (root / TRAINING).is_dir() and (root / "val").is_dir():
        # The layout that torchvision unpacks to, which needs neither its archives nor its list of names.
        return open_folder(root, None, config.held_out_share, config.split_seed)
    spelled = f"torchvision:{name}"
    options = inspect.signature(made).parameters
    if "train" in options:
        training, held_out = (_make(made, root, spelled, train=part) for part in (True, False))
    elif "split" in options:
        training = _make(made, root, spelled, split=TRAINING)
        held_out = _held_out(made, root, spelled, config.data_held_out)
    else:
        whole = _make(made, root, spelled)
        names = names_of(whole, config.num_classes, spelled)
        return split_parts(whole, names, spelled, config.held_out_share, config.split_seed)
    names = names_of(training, config.num_classes, spelled)
    return Parts(names, IndexedPictures(training, spelled), IndexedPictures(held_out, f"{spelled}, held out"))


def _held_out(made: Any, root: Path, spelled: str, split: str | None) -> Any:
    """The split `split`, or the first of those that are usual and there."""
    last: DataError | None = None
    for name in (split,) if split else HELD_OUT:
        try:
            return _make(made, root, spelled, split=name)
        except DataError as error:
            # Of a split that it does not have, or whose files are not there; the first message is as good.
            last = last or error
    assert last is not None
    raise last


def _make(made: Any, root: Path, spelled: str, **options: Any) -> Any:
    try:
        return made(root=root, **options)
    # Each of them has its own way to say that files are missing.
    except (RuntimeError, OSError, ValueError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())
        part = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise DataError(
            f"data: {spelled!r} cannot be read from {root}{f' ({part})' if part else ''}: {reason} fxbin "
            "downloads nothing: put the files there, as torchvision expects them."
        ) from error
