"""A teacher from the checkpoint of another run: its full-precision network, or its binarized one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fxbin.compiler.transform import transform
from fxbin.config.training import Teacher
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.train.build import config_of, model_of
from fxbin.train.checkpoint import Checkpoint, load_checkpoint
from fxbin.train.history import STAGED
from fxbin.train.resume import plain
from fxbin.train.settings import read_settings


def teacher_of_run(
    own: Teacher, state: Mapping[str, Tensor] | None, run_config: dict[str, Any] | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that `own` names, and the config of the run that it comes from.

    `state` and `run_config` are what the checkpoint of a resumed run keeps of it; without them, the file
    `own.checkpoint` is read. Raises ConfigError if that holds no such network.
    """
    assert own.checkpoint is not None
    try:
        if state is None or run_config is None:
            file = Path(own.checkpoint).expanduser()
            kept = load_checkpoint(file)
            # With absolute paths: a resumed run no longer needs the file, and does not know its folder.
            state, config = weights_of_run(own, kept), config_of(kept, file)
            run_config = kept.config if kept.config_folder is None else plain(config)
        else:
            config = read_settings(run_config)
        network = model_of(config, pretrained=False)
        # A network that is rewritten is so before it is trained in full precision.
        if own.network == "binarized" or config.binarization.rewrites:
            network = transform(network, config)
        network.load_state_dict(state)
    except (CheckpointError, ConfigError, TransformError) as error:
        raise ConfigError(f"distillation.teacher.checkpoint: {own.checkpoint!r}: {error}") from error
    return network, run_config


def weights_of_run(own: Teacher, kept: Checkpoint) -> Mapping[str, Tensor]:
    """The state_dict of the network that `own.network` names in the checkpoint `kept`.

    Raises CheckpointError if it is not in there.
    """
    if own.network == "binarized":
        if kept.phase != STAGED:
            raise CheckpointError(
                'the run has not reached its stages, so it has no "binarized" network yet: let it go on, or '
                'write "network": "full_precision".'
            )
        return kept.model
    if kept.phase != STAGED:
        return kept.model
    distillation = read_settings(kept.config).distillation
    if kept.teacher is None or (distillation.enabled and distillation.teacher is not None):
        raise CheckpointError(
            "the run learned from a teacher of its own, and keeps that one instead of its full-precision "
            'network: name the same teacher here, or write "network": "binarized".'
        )
    return kept.teacher
