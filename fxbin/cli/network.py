"""Builds the network that the argument SOURCE names."""

from pathlib import Path
from typing import TYPE_CHECKING

from fxbin.cli.source import config_for
from fxbin.errors import ConfigError

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule

CHECKPOINT_SUFFIXES = (".pt", ".pth")


def model_from(source: str, input_size: str | None, *, average: bool = False) -> "BinarizedModule":
    """The model of a checkpoint; or of a config or a name, untrained, with all binarizers enabled.

    It is in eval mode. With `average`, it has the averaged parameters of the checkpoint.
    Raises ConfigError, CheckpointError, and the errors of `transform`.
    """
    from fxbin.compiler.transform import transform
    from fxbin.train.build import binarized_from, model_of
    from fxbin.train.checkpoint import load_checkpoint

    if source.endswith(CHECKPOINT_SUFFIXES):
        return binarized_from(load_checkpoint(Path(source)), average=average)
    if average:
        raise ConfigError(f"--ema: {source} is not a checkpoint, expected checkpoint.pt of a run with `ema`.")
    settings = config_for(source, input_size)
    model = transform(model_of(settings, pretrained=False), settings).eval()
    model.binarization.enable(activations=True, weights=True)
    return model
