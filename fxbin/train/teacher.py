"""A teacher that the config names, in place of the full-precision network that is binarized."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fxbin.config import Config
from fxbin.errors import ConfigError
from fxbin.train.build import channels_of
from fxbin.train.data import ImageData
from fxbin.train.model_spec import build_model
from fxbin.train.tensor_file import load_tensors


def own_teacher(config: Config, data: ImageData, state: Mapping[str, Tensor] | None) -> nn.Module | None:
    """The network that `config.distillation.teacher` describes, on the device of `data`; None without one.

    `state` holds its weights from the checkpoint if a run is resumed: the file may have changed since.

    Raises ConfigError if it cannot be built, if the weights do not fit, or if its outputs are not logits for
    the images and classes of `data`.
    """
    own = config.distillation.teacher
    if own is None or not config.distillation.enabled:
        return None
    try:
        with torch.random.fork_rng(devices=[]):  # so that any teacher leaves the run's random numbers
            teacher = build_model(
                own.model,
                num_classes=config.num_classes,
                in_channels=channels_of(config),
                pretrained=own.pretrained and state is None,
                params=own.model_params,
            )
    except ConfigError as error:
        raise ConfigError(f"distillation.teacher.{error}") from error  # it begins with "model:"
    if state is not None:
        teacher.load_state_dict(state)
    elif own.state_dict is not None:
        load_weights(teacher, Path(own.state_dict).expanduser(), "distillation.teacher.state_dict")
    teacher = teacher.to(data.train_x.device).eval()
    _check_predictions(teacher, own.model, data.train_x[:2], config.num_classes)
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
def _check_predictions(teacher: nn.Module, spec: str, x: Tensor, classes: int | None) -> None:
    """Raise ConfigError unless `teacher` gives logits ``(n, classes)`` for images `x` ``(n, c, h, w)``."""
    expected = f"expected logits of shape {(len(x), classes)} for pictures of shape {tuple(x.shape)}"
    try:
        logits = teacher(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"distillation.teacher.model: {spec!r}: {expected}, got an error: {error}"
        ) from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if found != (len(x), classes):
        raise ConfigError(f"distillation.teacher.model: {spec!r}: {expected}, got {found}.")
