"""Builds the network that the argument SOURCE names."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fxbin.cli.source import config_for
from fxbin.config.changes import Change
from fxbin.errors import ConfigError

if TYPE_CHECKING:
    from fxbin.train.trained_network import TrainedNetwork

CHECKPOINT_SUFFIXES = (".pt", ".pth")


def network_from(
    source: str,
    input_size: str | None,
    *,
    config: str | None = None,
    settings: Sequence[str] = (),
    average: bool = False,
    best: bool = False,
    enable: bool = True,
) -> "TrainedNetwork":
    """The network of a run; or of a config or a name, untrained, with binarizers on if `enable`.

    A run is given by its folder or a checkpoint; with `best`, its best checkpoint is taken. With `config`,
    the name of a config file, a checkpoint is a `state_dict` of a model that was transformed with it.
    `settings` are the values of `--set`. The model is in eval mode. With `average`, it has the averaged
    parameters of the checkpoint.
    Raises ConfigError, CheckpointError, and the errors of `transform`.
    """
    source = chosen_checkpoint(source, config, best=best)
    if is_checkpoint(source):
        if settings and config is None:
            raise ConfigError(
                f"--set: {settings[0]!r}: the checkpoint {source} has its own config, leave the option out."
            )
        return trained_from(source, config=config, settings=settings, average=average)
    if average:
        raise _refused_average(source)
    from fxbin.compiler.transform import transform
    from fxbin.train.build import model_of
    from fxbin.train.trained_network import TrainedNetwork

    read = config_for(source, input_size, config, settings)
    model = transform(model_of(read, pretrained=False), read).eval()
    model.binarization.enable(activations=enable, weights=enable)
    return TrainedNetwork(model, read)


def trained_from(
    source: str,
    *,
    config: str | None = None,
    settings: Sequence[str] = (),
    changes: Sequence[Change] = (),
    average: bool = False,
    best: bool = False,
) -> "TrainedNetwork":
    """The network of a run, or with `config` that of a `state_dict`; the config has all changes."""
    from fxbin.config.changes import parse_change
    from fxbin.train.trained_network import network_of_own_loop, network_of_run

    source = chosen_checkpoint(source, config, best=best)
    if not is_checkpoint(source):
        raise ConfigError(
            f"SOURCE: {source!r}: expected the folder of a run, or a checkpoint or a state_dict, which ends "
            "in .pt."
        )
    if config is None:
        return network_of_run(Path(source), average=average, changes=[*changes, *map(parse_change, settings)])
    if average:
        raise _refused_average(source)
    return network_of_own_loop(Path(source), config_for(config, None, None, settings, changes))


def is_checkpoint(source: str) -> bool:
    """Whether `source` names a file with weights."""
    return source.endswith(CHECKPOINT_SUFFIXES)


def chosen_checkpoint(source: str, config: str | None = None, *, best: bool = False) -> str:
    """`source`, or the checkpoint in it if it is the folder of a run; with `best`, that of the best epoch.

    Raises ConfigError if `best` is asked of what is no run, CheckpointError if the checkpoint is not there.
    """
    place = Path(source)
    if best and config is not None:
        raise ConfigError(f"--best: with --config, {source} is no run: leave one of the two options out.")
    is_folder = _is_run_folder(source)
    if not (is_folder or best):
        return source
    if not is_folder and place.name not in ("checkpoint.pt", "best.pt"):
        raise ConfigError(f"--best: {source!r}: expected the folder of a run, or checkpoint.pt in one.")
    from fxbin.train.run_folder import checkpoint_in

    return str(checkpoint_in(place if is_folder else place.parent, best=best))


def _is_run_folder(source: str) -> bool:
    """Whether `source` means the folder of a run; a folder may also have the name of a model."""
    if not Path(source).is_dir():
        return False
    from fxbin.train.run_folder import has_checkpoint

    return os.sep in source or has_checkpoint(Path(source))


def _refused_average(source: str) -> ConfigError:
    return ConfigError(f"--ema: {source} is not a checkpoint, expected checkpoint.pt of a run with `ema`.")
