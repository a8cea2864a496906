"""A trained network with the config of its run, and what that kept of its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxbin.binarized.module import BinarizedModule
from fxbin.compiler.transform import transform
from fxbin.config import Config
from fxbin.config.changes import Change
from fxbin.train.build import binarized_from, config_of, model_of
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.data.included import kept_of_included
from fxbin.train.own_state import load_own_state


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in eval mode, with its weights and stage."""

    model: BinarizedModule
    """The transformed model."""

    config: Config
    """Its config, with absolute paths."""

    kept: Mapping[str, Any] | None = None
    """What is known of the data of the run, as `Data.kept` returns it; None if that is nothing."""

    trained_on: str | None = None
    """The data of the run, as `config` names data; None if that is not known."""


def network_of_run(file: Path, *, average: bool = False, changes: Sequence[Change] = ()) -> TrainedNetwork:
    """The network in the checkpoint `file`, or the average of its parameters; `changes` are about its data.

    Raises CheckpointError and ConfigError as `load_checkpoint` and `binarized_from` do.
    """
    checkpoint = load_checkpoint(file)
    model = binarized_from(checkpoint, average=average, file=file)
    own = config_of(checkpoint, file)
    kept = checkpoint.data or kept_of_included(own)
    return TrainedNetwork(model, config_of(checkpoint, file, changes), kept, own.data)


def network_of_own_loop(file: Path, config: Config) -> TrainedNetwork:
    """The network of `config` with the `state_dict` in `file`.

    Raises CheckpointError if that does not fit.
    """
    model = transform(model_of(config, pretrained=False), config).eval()
    load_own_state(model, file)
    return TrainedNetwork(model, config)
