"""Opens the data set that a config names."""

from pathlib import Path

from fxbin.config import Config
from fxbin.train.data.included import load_images
from fxbin.train.data.interface import Data


def open_data(config: Config) -> Data:
    """The data set that `config.data` names.

    Raises DataError if it is not known, not there or damaged.
    """
    return load_images(config.data, Path(config.data_dir).expanduser() if config.data_dir else None)
