"""A teacher that the config names, in place of the full-precision network that is binarized."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.config import Config
from fxbin.config.training import Teacher
from fxbin.errors import ConfigError
from fxbin.train.build import channels_of
from fxbin.train.checkpoint import Checkpoint
from fxbin.train.data import Data
from fxbin.train.model_spec import build_model
from fxbin.train.run_teacher import teacher_of_run
from fxbin.train.tensor_file import load_tensors

SECTION = "distillation.teacher"


@dataclass(frozen=True)
class OwnTeacher:
    """A network that the config names to learn from."""

    network: nn.Module
    """The network in eval mode, on the device of the data."""

    config: dict[str, Any] | None = None
    """The config of the run that it comes from; None if it does not come from a run."""


def own_teacher(config: Config, data: Data, resumed: Checkpoint | None) -> OwnTeacher | None:
    """The network that `config.distillation.teacher` describes, on the device of `data`; None without one.

    If a run is resumed, its weights come from the checkpoint: the file they came from may have changed since.

    Raises ConfigError if it cannot be built, if the weights do not fit, or if its outputs are not logits for
    the images and classes of `data`.
    """
    own = config.distillation.teacher
    if own is None or not config.distillation.enabled or own.previous_stage:
        return None
    state = resumed.teacher if resumed else None
    with torch.random.fork_rng(devices=[]):  # so that any teacher leaves the run's random numbers
        if own.checkpoint is not None:
            kept = resumed.teacher_config if resumed else None
            teacher = OwnTeacher(*teacher_of_run(own, state, kept))
            what = f"{SECTION}.checkpoint: {own.checkpoint!r}"
        else:
            teacher = OwnTeacher(_from_library(config, own, state))
            what = f"{SECTION}.model: {own.model!r}"
    x, _ = data.samples(2)
    _check_predictions(teacher.network.to(x.device).eval(), what, x, config.num_classes)
    return teacher


def _from_library(config: Config, own: Teacher, state: Mapping[str, Tensor] | None) -> nn.Module:
    """The network that `own.model` names, with the weights in `state`, or those that `own` names."""
    assert own.model is not None
    try:
        teacher = build_model(
            own.model,
            num_classes=config.num_classes,
            in_channels=channels_of(config),
            pretrained=own.pretrained and state is None,
            params=own.model_params,
        )
    except ConfigError as error:
        raise ConfigError(f"{SECTION}.{error}") from error  # it begins with "model:"
    if state is not None:
        teacher.load_state_dict(state)
    elif own.state_dict is not None:
        load_weights(teacher, Path(own.state_dict).expanduser(), f"{SECTION}.state_dict")
    return teacher


def load_weights(model: nn.Module, path: Path, key: str) -> None:
    """Load the state_dict in the file `path`, the value of the config key `key`, without running code in it.

    Raises ConfigError if the file is missing, damaged, or belongs to another network.
    """
    if not path.is_file():
        raise ConfigError(f"{key}: the file {path} does not exist (looked from {Path.cwd()}).")
    hint = "Expected what `torch.save(model.state_dict(), PATH)` writes."
    try:
        state = load_tensors(path)
    except ValueError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error}. {hint}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{key}: {path} does not hold tensors by name. {hint}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        if any(key.endswith("_binarizer.enabled") for key in state):
            raise ConfigError(
                f"{key}: {path} belongs to a model that fxbin.transform returned, but a teacher is in "
                "full precision. Save the state_dict of the original model."
            ) from error
        raise ConfigError(f"{key}: {path} belongs to another network: {error}") from error


@torch.no_grad()
def _check_predictions(teacher: nn.Module, what: str, x: Tensor, classes: int | None) -> None:
    """Raise ConfigError unless `teacher` gives logits ``(n, classes)`` for images `x` ``(n, c, h, w)``."""
    expected = f"expected logits of shape {(len(x), classes)} for pictures of shape {tuple(x.shape)}"
    try:
        logits = teacher(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{what}: {expected}, got an error: {error}") from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if found != (len(x), classes):
        raise ConfigError(f"{what}: {expected}, got {found}.")
