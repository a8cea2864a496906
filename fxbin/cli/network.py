"""Builds the network that the argument SOURCE names."""

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
    enable: bool = True,
) -> "TrainedNetwork":
    """The network of a checkpoint; or of a config or a name, untrained, with binarizers on if `enable`.

    With `config`, the name of a config file, a checkpoint is a `state_dict` of a model that was transformed
    with it. `settings` are the values of `--set`. The model is in eval mode. With `average`, it has the
    averaged parameters of the checkpoint.
    Raises ConfigError, CheckpointError, and the errors of `transform`.
    """
    if is_checkpoint(source):
        if settings and config is None:
            raise ConfigError(
                f"--set: {settings[0]!r}: the checkpoint {source} has its own config, leave the option out."
            )
        return trained_from(source, config=config, settings=settings, average=average)
    if average:
        raise ConfigError(f"--ema: {source} is not a checkpoint, expected checkpoint.pt of a run with `ema`.")
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
) -> "TrainedNetwork":
    """The network of a checkpoint, or with `config` that of a `state_dict`; the config has all changes."""
    from fxbin.config.changes import parse_change
    from fxbin.train.trained_network import network_of_own_loop, network_of_run

    if not is_checkpoint(source):
        raise ConfigError(f"SOURCE: {source!r}: expected a checkpoint or a state_dict, which ends in .pt.")
    if config is None:
        return network_of_run(Path(source), average=average, changes=[*changes, *map(parse_change, settings)])
    if average:
        raise ConfigError(f"--ema: {source} is not a checkpoint, expected checkpoint.pt of a run with `ema`.")
    return network_of_own_loop(Path(source), config_for(config, None, None, settings, changes))


def is_checkpoint(source: str) -> bool:
    """Whether `source` names a file with weights."""
    return source.endswith(CHECKPOINT_SUFFIXES)
