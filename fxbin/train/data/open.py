"""Opens the data set that a config names."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxbin.binarizers.ranks import rank_count
from fxbin.config import Config
from fxbin.errors import ConfigError, DataError
from fxbin.train.data.folder import open_folder
from fxbin.train.data.hub import open_hub
from fxbin.train.data.included import is_in_memory, load_idx, load_images
from fxbin.train.data.indexed import pair_of
from fxbin.train.data.interface import Data
from fxbin.train.data.loader_data import LoaderData
from fxbin.train.data.normalization import MEASURED, preprocessing_of
from fxbin.train.data.own_function import call_function, class_names, indexed_parts, is_own, kind_of
from fxbin.train.data.picture_data import PictureData
from fxbin.train.data.picture_set import Parts
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import NOT_FINITE, WrongPictureError
from fxbin.train.data.seeds import random_state_kept
from fxbin.train.data.sequence_data import SequenceData
from fxbin.train.data.stream_data import StreamData, Streams, open_streams
from fxbin.train.data.torchvision_sets import open_torchvision


def open_data(config: Config) -> Data:
    """The data set that `config.data` names.

    Raises DataError if it is not known, not there or damaged, ConfigError if the config does not fit it.
    """
    kind, _, rest = config.data.partition(":")
    check_keys(config)
    if is_own(config.data):
        return _own(config)
    if kind == "wds":
        return _streams(open_streams(config, rest), config)
    if kind in SOURCES:
        return with_preprocessing(SOURCES[kind](config, rest), config)
    if kind == "idx":
        return load_idx(config.data, Path(rest).expanduser())
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


def _own(config: Config) -> Data:
    """The data of the user's function, by what it returned."""
    own = call_function(config)
    kinds = kind_of(own.training), kind_of(own.held_out)
    if kinds[0] != kinds[1]:
        raise DataError(
            f"data: {own.spec!r} returned a {type(own.training).__name__} and a "
            f"{type(own.held_out).__name__}, "
            "expected two data sets with positions, two without, or two loaders."
        )
    if kinds[0] == "loader" or (kinds[0] == "positions" and is_floating_point(own.training)):
        check_unaugmented(config)
    if kinds[0] == "positions":
        return with_preprocessing(indexed_parts(own, config), config)
    names = class_names(own, config)
    if kinds[0] == "loader":
        given = config.pictures.mean is not None
        return LoaderData(
            own.training,
            own.held_out,
            names,
            config,
            preprocessing_of(config, lambda _: ()) if given else None,
        )

    def measure(found: Preprocessing) -> Iterator[Tensor]:
        return SequenceData(own.training, own.held_out, names, found, config).plain_training(MEASURED)

    return SequenceData(own.training, own.held_out, names, preprocessing_of(config, measure), config)


def check_keys(config: Config) -> None:
    """Raise ConfigError if the config asks for what is not done to data of its kind."""
    given = [f"augmentation.{key}" for key in ("crop", "rand_augment") if getattr(config.augmentation, key)]
    given += [f"pictures.{key}" for key in sorted(config.pictures.model_fields_set)]
    in_memory = is_in_memory(config.data)
    unused = given if in_memory else []
    if config.data_held_out and (in_memory or is_own(config.data)):
        unused.append("data_held_out")
    if unused:
        raise ConfigError(
            f"{unused[0]}: not for {config.data!r}, "
            f"{'whose pictures are kept in memory as they are' if in_memory else 'which returns both'}: "
            "remove it."
        )


def is_floating_point(dataset: Any) -> bool:
    """Whether the first picture of `dataset` is a floating-point tensor, which is left as it is.

    Raises DataError if it cannot be.
    """
    with random_state_kept():
        try:
            first, _ = pair_of(dataset[0])
        except WrongPictureError as error:
            raise DataError(f"data: the first picture: {error}") from error
        except Exception as error:
            raise DataError(
                f"data: the first picture cannot be read: {type(error).__name__}: {error}"
            ) from error
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return False
    if first.ndim == 4:
        raise DataError(
            f"data: the first item has a tensor {tuple(first.shape)}, which is a batch: return one picture "
            "(channels, height, width) and its label for each position, or wrap the data set in a loader, "
            "torch.utils.data.DataLoader(dataset, batch_size=None)."
        )
    if not torch.isfinite(first).all():
        raise DataError(f"data: the first picture: {NOT_FINITE}")
    return True


def check_unaugmented(config: Config) -> None:
    """Raise ConfigError if inputs that are left as they are would have to be augmented."""
    for key in ("crop", "rand_augment", "shift", "flip"):
        if getattr(config.augmentation, key):
            raise ConfigError(
                f"augmentation.{key}: {config.data!r} returns inputs of the model, which are left as they "
                "are: augment them there, or return PIL pictures or uint8 tensors one by one."
            )


def _folder(config: Config, rest: str) -> Parts:
    if not rest:
        raise DataError("data: 'folder:' names no folder, expected 'folder:PATH'.")
    named = config.data_held_out
    held_out = Path(named.removeprefix("folder:")).expanduser() if named else None
    return open_folder(Path(rest).expanduser(), held_out, config.held_out_share, config.split_seed)


SOURCES: dict[str, Callable[[Config, str], Parts]] = {
    "folder": _folder,
    "torchvision": open_torchvision,
    "hf": open_hub,
}
"""The sources of pictures that can be read in any order, by what `data` begins with."""
