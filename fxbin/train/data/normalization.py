"""How pictures become inputs: by numbers in the config, by the model's own config, or by the data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxbin.config import Config
from fxbin.errors import ConfigError
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.model_spec import build_model
from fxbin.train.torchvision_operators import declare_operators

MEASURED = 2000
"""Training pictures from which mean and deviation are computed."""


@dataclass(frozen=True)
class ModelInputs:
    """What a model's own config says of its inputs."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    share: float
    """The share of the shorter side that the centre crop keeps."""


def size_of(config: Config) -> tuple[int, int, int]:
    """Channels, height and width of the first input; raises ConfigError if the config does not give them."""
    sizes = config.input_info[0].sample_size if config.input_info else ()
    if len(sizes) != 4 or sizes[1] not in (1, 3):
        got = list(sizes) if sizes else "nothing"
        raise ConfigError(
            f"input_info.sample_size: got {got}, expected the size to which pictures are made, as in "
            "[1, 3, 224, 224], with 3 channels, or 1 for grey."
        )
    return sizes[1], sizes[2], sizes[3]


def preprocessing_of(config: Config, measure: Callable[[Preprocessing], Iterable[Tensor]]) -> Preprocessing:
    """How pictures become inputs by `config`.

    `measure` yields uint8 training pictures ``(n, c, h, w)``, resized and cropped by its argument, from which
    mean and deviation are computed if they are to be those of the data.

    Raises ConfigError if the model has no config of its own but is to decide, or numbers do not fit.
    """
    own = config.pictures
    channels, height, width = size_of(config)
    given = own.mean, own.std
    wanted = own.normalize == "model" or (own.normalize == "auto" and config.pretrained and own.mean is None)
    model = model_inputs(config, required=own.normalize == "model") if wanted else None
    shorter = min(height, width)
    resize = own.resize or (round(shorter / model.share) if model else shorter)
    if resize < shorter:
        raise ConfigError(
            f"pictures.resize: got {resize}, expected at least {shorter}, the shorter side of "
            "input_info.sample_size, to which the centre is cropped."
        )
    interpolation = own.interpolation or (model.interpolation if model else "bilinear")
    found = Preprocessing(
        channels, height, width, resize, interpolation, (0.0,) * channels, (1.0,) * channels
    )
    if own.normalize == "none":
        return found
    if own.mean is not None and own.std is not None:
        mean, std, key = own.mean, own.std, "pictures.mean"
    elif model is not None:
        mean, std, key = model.mean, model.std, "pictures.normalize"
    else:
        return measured(found, measure(found))
    if len(mean) not in (1, channels):
        raise ConfigError(
            f"{key}: got {list(given[0] or mean)}, expected a number for each of the {channels} channels of "
            "input_info.sample_size."
        )
    return replace(found, mean=tuple(mean) * (channels // len(mean)), std=tuple(std) * (channels // len(std)))


def measured(found: Preprocessing, batches: Iterable[Tensor]) -> Preprocessing:
    """`found` with the mean and the standard deviation of the pictures in `batches`, to four digits."""
    count, total, squares = 0, torch.zeros(found.channels), torch.zeros(found.channels)
    total, squares = total.double(), squares.double()
    for batch in batches:
        pixels = batch.double().div(255)
        count += pixels.numel() // found.channels
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    mean = total / max(count, 1)
    # Pictures of one colour have no deviation, and nothing is gained by dividing by a small number.
    std = (squares / max(count, 1) - mean.square()).clamp_min(0).sqrt().clamp_min(0.01)
    return replace(
        found,
        mean=tuple(round(value, 4) for value in mean.tolist()),
        std=tuple(round(value, 4) for value in std.tolist()),
    )


def model_inputs(config: Config, *, required: bool) -> ModelInputs | None:
    """What the config of the model says of its inputs: timm's `pretrained_cfg`, torchvision's weights.

    None if it has none, unless that is `required`. Raises ConfigError then.
    """
    spec = config.model or ""
    library, _, name = spec.rpartition(":")
    found = None
    if library == "timm":
        found = _from_timm(name)
    elif library.endswith(".py") and required:
        found = _from_instance(config)
    elif library in ("", "torchvision"):
        found = _from_torchvision(name)
    if found is None and required:
        raise ConfigError(
            f'pictures.normalize: "model" needs a model whose config says how its inputs are normalized, as '
            f"those of timm and torchvision, and {spec!r} has none. Write "
            '"normalize": "data", or give "mean" and "std".'
        )
    return found


def _from_timm(name: str) -> ModelInputs | None:
    declare_operators()
    try:
        import timm
    except ImportError:
        return None
    found = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    return None if found is None else _from_cfg(found.to_dict())


def _from_instance(config: Config) -> ModelInputs | None:
    """What timm has noted on a model that the user's function makes with it."""
    assert config.model is not None
    with torch.random.fork_rng(devices=[]):
        model = build_model(
            config.model, num_classes=config.num_classes, in_channels=None, params=config.model_params
        )
    noted = getattr(model, "pretrained_cfg", None)
    return _from_cfg(noted) if isinstance(noted, dict) and "mean" in noted else None


def _from_cfg(cfg: dict[str, Any]) -> ModelInputs:
    interpolation = str(cfg.get("interpolation", "bicubic"))
    return ModelInputs(
        tuple(cfg["mean"]),
        tuple(cfg["std"]),
        interpolation if interpolation in ("bilinear", "bicubic", "nearest") else "bicubic",
        float(cfg.get("crop_pct") or 0.875),
    )


def _from_torchvision(name: str) -> ModelInputs | None:
    declare_operators()
    try:
        from torchvision.models import get_model_weights, list_models
    except (ImportError, RuntimeError):
        return None
    if name not in list_models():
        return None
    chosen: Any = next(iter(get_model_weights(name)), None)
    default: Any = getattr(get_model_weights(name), "DEFAULT", chosen)
    if default is None:
        return None
    preset = default.transforms()
    share = preset.crop_size[0] / preset.resize_size[0]
    return ModelInputs(tuple(preset.mean), tuple(preset.std), preset.interpolation.value, share)
