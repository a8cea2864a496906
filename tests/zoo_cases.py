"""The inputs for each model of the zoos: images as small as it accepts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.other_zoos import ENTRIES
from tests.transform_check import Case
from tests.zoo import build

Args = tuple[Any, ...]
SMALL = (64, 96, 128)


def case(library: str, name: str) -> Case:
    """The model with inputs that it runs on; raises whatever it raises if it runs on none."""
    torch.manual_seed(0)
    model = build(library, name)
    if library in ENTRIES:
        entry = ENTRIES[library][name]
        _try(model, entry.inputs(2))
        return Case(model, entry.inputs)
    if _is_detection(model):
        # These enlarge pictures to 800 pixels before they look at them.
        model.transform.min_size, model.transform.max_size = (96,), 160  # type: ignore[union-attr]
    size = input_size(library, model)
    error: Exception | None = None
    for side in (*(side for side in SMALL if side < min(size[1:])), None):
        inputs = inputs_for(library, name, model, side)
        try:
            _try(model, inputs(2))
        except Exception as caught:  # noqa: BLE001  (each model says in its own way that images are too small)
            error = caught
        else:
            return Case(model, inputs, trains=not _is_detection(model))
    assert error is not None
    raise error


def input_size(library: str, model: nn.Module) -> tuple[int, ...]:
    """Channels, height and width that `model` is made for."""
    if library == "timm":
        size: tuple[int, ...] = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
        return size
    if library == "pytorchcv":
        first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
        return (getattr(model, "in_channels", min(first, 3)), *getattr(model, "in_size", (224, 224)))
    return (3, 224, 224) if "Inception" not in type(model).__name__ else (3, 299, 299)


def inputs_for(library: str, name: str, model: nn.Module, side: int | None = None) -> Callable[[int], Args]:
    """Inputs for a batch of some size: square images of `side` pixels, or what the model is made for."""
    if library in ENTRIES:
        return ENTRIES[library][name].inputs
    channels, *size = input_size(library, model)
    if _is_detection(model):
        return lambda batch: ([_noise(3, 96 + 16 * i, 128) for i in range(batch)],)
    if name.startswith("raft"):
        return lambda batch: (_noise(batch, 3, 128, 136), _noise(batch, 3, 128, 136) * 0.9)
    if name.startswith(("nvpattexp", "voca")):
        frames = 8 if name.startswith("nvpattexp") else 1
        return lambda batch: (_noise(batch, frames, 16, 29), torch.full((batch,), 3))
    if name.startswith("propainter"):
        return _video(name)
    shape = (channels, *(size if side is None else (side, side)))
    return lambda batch: (_noise(batch, *shape),)


def _video(name: str) -> Callable[[int], Args]:
    """Frames, masks and flows for the video inpainting models of pytorchcv."""
    frames, height, width = 3, 64, 112

    def clip(batch: int, channels: int, number: int = frames) -> Tensor:
        return _noise(batch, number, channels, height, width)

    if name == "propainter":
        return lambda b: (clip(b, 3), clip(b, 1).round(), clip(b, 1).round(), clip(b, 4, frames - 1), frames)
    if name == "propainter_ip":
        return lambda b: (
            clip(frames, 3, 1)[:, 0],
            clip(frames, 1, 1)[:, 0].round(),
            clip(frames - 1, 4, 1)[:, 0],
        )
    return lambda b: (clip(b, 2), clip(b, 1).round())


def _try(model: nn.Module, inputs: Args) -> None:
    with torch.no_grad():
        model.eval()(*inputs)
        if not _is_detection(model):
            model.train()(*inputs)


def _is_detection(model: nn.Module) -> bool:
    return type(model).__module__.startswith("torchvision.models.detection")


def _noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))
