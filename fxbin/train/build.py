"""Builds the model that a config names, and the binarized model that a checkpoint holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.compiler.transform import transform
from fxbin.config import Config, load_config
from fxbin.config.changes import Change
from fxbin.errors import CheckpointError, ConfigError
from fxbin.staged.average import StagedAverage
from fxbin.train.checkpoint import Checkpoint
from fxbin.train.data import Data
from fxbin.train.history import STAGED
from fxbin.train.located import located
from fxbin.train.model_spec import build_model
from fxbin.train.resume import plain
from fxbin.train.settings import read_settings


def model_of(config: Config, *, pretrained: bool | None = None) -> nn.Module:
    """Build the model that `config.model` names, with random weights from `config.seed` unless pretrained.

    `pretrained` overrides the config's key: a model that gets its weights from a checkpoint needs no others.
    Raises ConfigError if the config names no model, or it cannot be built.
    """
    if config.model is None:
        raise ConfigError(
            'model: the config has none, and this command needs one. Add for example "model": "resnet_thin", '
            '"torchvision:resnet18" or "path/to/file.py:make_model".'
        )
    model = located(config).config.model
    assert model is not None
    torch.manual_seed(config.seed)
    return build_model(
        model,
        num_classes=config.num_classes,
        in_channels=channels_of(config),
        pretrained=config.pretrained if pretrained is None else pretrained,
        params=config.model_params,
    )


def channels_of(config: Config) -> int | None:
    """Number of channels of the first input; None if that is not 4-d or not given."""
    sizes = [info.sample_size for info in config.input_info]
    return sizes[0][1] if sizes and len(sizes[0]) == 4 else None


def fit_to_data(config: Config, data: Data) -> Config:
    """`config` with the number of classes and the image size of `data`, where it does not give them.

    Raises ConfigError if it gives another image size, or too few classes.
    """
    picture = list(data.picture)
    if config.input_info and list(config.input_info[0].sample_size[1:]) != picture:
        raise ConfigError(
            f"input_info.sample_size: {list(config.input_info[0].sample_size)} does not fit the pictures of "
            f"{data.name!r}: expected [1, {', '.join(map(str, picture))}]."
        )
    classes = len(data.class_names)
    if config.num_classes is not None and config.num_classes < classes:
        raise ConfigError(
            f"num_classes: {config.num_classes} is too few for {data.name!r}, which has {classes}."
        )
    written: dict[str, Any] = plain(config)
    if not config.input_info:
        written["input_info"] = [{"sample_size": [1, *picture]}]
    return load_config({"num_classes": classes} | written).with_folder(config.folder)


def config_of(checkpoint: Checkpoint, file: Path | None = None, changes: Sequence[Change] = ()) -> Config:
    """The config of a run with `changes`, with absolute paths; `file` is the one that holds the checkpoint.

    What it names is looked for in the folder of the config, the current one, and that of the checkpoint.
    Raises ConfigError if the file of the model is in none of them.
    """
    folders = checkpoint.folders(file)
    folder = folders[0] if checkpoint.config_folder is not None else None
    return located(read_settings(checkpoint.config, changes, folders, folder), folders).config


def binarized_from(
    checkpoint: Checkpoint, *, average: bool = False, file: Path | None = None, early: bool = False
) -> BinarizedModule:
    """Build the transformed model of a run, with weights and stage of the checkpoint, in eval mode.

    With `average`, its parameters are the averaged ones that the config key `ema` asks for. `file` is the one
    that holds the checkpoint: files that its config names are also looked for beside it. With `early`, a run
    in its pretraining has a model too: as its stages would begin with the weights that it has by now.
    Raises CheckpointError if the run had not reached its staged phase, or keeps no average.
    """
    if checkpoint.phase != STAGED and not early:
        raise CheckpointError(
            f"the checkpoint is from the full-precision phase (epoch {checkpoint.epoch + 1}): there is no "
            "binarized network in it yet. Let `fxbin train` continue."
        )
    if average and checkpoint.average is None:
        raise CheckpointError(
            '--ema: the checkpoint holds no average of the parameters, as its config has no "ema". Leave the '
            'option out, or train with "ema": {"decay": 0.999}.'
        )
    config = config_of(checkpoint, file)
    model = model_of(config, pretrained=False)
    # Where the config rewrites the network, it is transformed before the pretraining.
    is_original = checkpoint.phase != STAGED and not config.binarization.rewrites
    if is_original:
        model.load_state_dict(checkpoint.model)
    binarized = transform(model, config)
    if is_original:
        return binarized.eval()
    if average:
        kept = StagedAverage(binarized)
        kept.load_state_dict(checkpoint.average or {})
        return kept.network.eval()
    binarized.load_state_dict(checkpoint.model)
    return binarized.eval()
