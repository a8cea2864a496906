"""Opens the data set that a config names."""

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from fxbin.binarizers.ranks import rank_count
from fxbin.config import Config
from fxbin.errors import ConfigError, DataError
from fxbin.train.data.folder import open_folder
from fxbin.train.data.included import LOADERS, load_images
from fxbin.train.data.interface import Data
from fxbin.train.data.normalization import MEASURED, preprocessing_of
from fxbin.train.data.picture_data import PictureData
from fxbin.train.data.picture_set import Parts
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.stream_data import StreamData, Streams, open_streams


def open_data(config: Config) -> Data:
    """The data set that `config.data` names.

    Raises DataError if it is not known, not there or damaged, ConfigError if the config does not fit it.
    """
    kind, _, rest = config.data.partition(":")
    if kind == "wds":
        return _streams(open_streams(config, rest), config)
    if kind in SOURCES:
        return with_preprocessing(SOURCES[kind](config, rest), config)
    check_in_memory(config)
    return load_images(config.data, Path(config.data_dir).expanduser() if config.data_dir else None)


def with_preprocessing(parts: Parts, config: Config) -> PictureData:
    """The pictures of `parts`, made inputs of the model as `config` says."""

    def measure(found: Preprocessing) -> Iterator[Tensor]:
        return PictureData(parts, found, config).plain_training(MEASURED)

    return PictureData(parts, preprocessing_of(config, measure), config)


def _streams(streams: Streams, config: Config) -> StreamData:
    ranks = rank_count()

    def measure(found: Preprocessing) -> Iterator[Tensor]:
        return StreamData(streams, found, config, ranks=ranks).plain_training(MEASURED)

    return StreamData(streams, preprocessing_of(config, measure), config, ranks=ranks)


def check_in_memory(config: Config) -> None:
    """Raise ConfigError if the config asks for what is not done to pictures that are kept in memory."""
    unused = [f"augmentation.{key}" for key in ("crop", "rand_augment") if getattr(config.augmentation, key)]
    unused += [f"pictures.{key}" for key in sorted(config.pictures.model_fields_set)]
    unused += ["data_held_out"] if config.data_held_out else []
    if unused and config.data in LOADERS:
        raise ConfigError(
            f"{unused[0]}: not for {config.data!r}, whose pictures are kept in memory as they are: remove it."
        )


def _folder(config: Config, rest: str) -> Parts:
    held_out = (
        Path(config.data_held_out.removeprefix("folder:")).expanduser() if config.data_held_out else None
    )
    if not rest:
        raise DataError("data: 'folder:' names no folder, expected 'folder:PATH'.")
    return open_folder(Path(rest).expanduser(), held_out, config.held_out_share, config.split_seed)


SOURCES: dict[str, Callable[[Config, str], Parts]] = {"folder": _folder}
"""The sources of pictures that can be read in any order, by what `data` begins with."""
