"""Builds the network that the argument SOURCE names."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fxbin.cli.source import config_for
from fxbin.config import Config
from fxbin.errors import ConfigError

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule

CHECKPOINT_SUFFIXES = (".pt", ".pth")


def model_from(
    source: str,
    input_size: str | None,
    *,
    config: str | None = None,
    settings: Sequence[str] = (),
    average: bool = False,
    enable: bool = True,
) -> "BinarizedModule":
    """The model of a checkpoint; or of a config or a name, untrained, with binarizers on if `enable`.

    With `config`, the name of a config file, a checkpoint is a `state_dict` of a model that was transformed
    with it. `settings` are the values of `--set`. The model is in eval mode. With `average`, it has the
    averaged parameters of the checkpoint.
    Raises ConfigError, CheckpointError, and the errors of `transform`.
    """
    if is_checkpoint(source) and config is None:
        return _of_run(Path(source), settings, average=average)
    if average:
        raise ConfigError(f"--ema: {source} is not a checkpoint, expected checkpoint.pt of a run with `ema`.")
    if is_checkpoint(source):
        assert config is not None
        return _of_own_loop(Path(source), config_for(config, input_size, settings=settings))
    from fxbin.compiler.transform import transform
    from fxbin.train.build import model_of

    read = config_for(source, input_size, config, settings)
    model = transform(model_of(read, pretrained=False), read).eval()
    model.binarization.enable(activations=enable, weights=enable)
    return model


def is_checkpoint(source: str) -> bool:
    """Whether `source` names a file with weights."""
    return source.endswith(CHECKPOINT_SUFFIXES)


def _of_run(file: Path, settings: Sequence[str], *, average: bool) -> "BinarizedModule":
    from fxbin.train.build import binarized_from
    from fxbin.train.checkpoint import load_checkpoint

    if settings:
        raise ConfigError(
            f"--set: {settings[0]!r}: the checkpoint {file} has its own config, leave the option out."
        )
    return binarized_from(load_checkpoint(file), average=average, file=file)


def _of_own_loop(file: Path, config: Config) -> "BinarizedModule":
    from fxbin.compiler.transform import transform
    from fxbin.train.build import model_of
    from fxbin.train.own_state import load_own_state

    model = transform(model_of(config, pretrained=False), config).eval()
    load_own_state(model, file)
    return model
