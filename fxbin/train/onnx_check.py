"""Does the exported file compute what PyTorch computes?"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fxbin.errors import ExportError
from fxbin.train.epoch import EVALUATION_BATCH, accuracy


@dataclass(frozen=True)
class OnnxCheck:
    """PyTorch against another runtime on the held-out images."""

    accuracy: float
    """Per cent, of that runtime."""

    differing_predictions: int
    """Images whose largest logit is another one's."""

    largest_logit_difference: float
    """Absolute, over all images and classes."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def why_unavailable() -> str | None:
    """Which package is missing to export and to check; None if nothing is."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    return f"{', '.join(missing)} not installed: `pip install 'fxbin[onnx]'`" if missing else None


def check_onnx(path: Path, images: Tensor, labels: Tensor, logits: Tensor) -> OnnxCheck:
    """Run the file at `path` on `images` and compare with PyTorch's `logits`."""
    return compare_logits(path, predict_with_onnxruntime(path, images), logits, labels)


def compare_logits(path: Path, found: Tensor, logits: Tensor, labels: Tensor) -> OnnxCheck:
    """What a runtime has `found` with the file at `path`, beside PyTorch's `logits`."""
    expected = logits.cpu().float()
    if found.shape != expected.shape:
        raise ExportError(
            f"{path} gives outputs of shape {tuple(found.shape)}, PyTorch {tuple(expected.shape)}"
        )
    return OnnxCheck(
        accuracy=accuracy(found, labels.cpu()),
        differing_predictions=int((found.argmax(1) != expected.argmax(1)).sum()),
        largest_logit_difference=float((found - expected).abs().max()),
    )


def predict_with_onnxruntime(path: Path, images: Tensor) -> Tensor:
    """The first output of the file at `path` for all `images`, in batches of the size it takes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model_input = session.get_inputs()[0]
    fixed = model_input.shape[0] if isinstance(model_input.shape[0], int) else None
    return in_batches(lambda x: session.run(None, {model_input.name: x})[0], images, fixed)


def in_batches(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]], images: Tensor, fixed: int | None
) -> Tensor:
    """`run` on all `images`, in batches of size `fixed`; None leaves it open."""
    outputs = []
    for part in images.cpu().split(fixed or EVALUATION_BATCH):
        missing = (fixed or len(part)) - len(part)
        whole = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        outputs.append(torch.from_numpy(run(whole.numpy()))[: len(part)])
    return torch.cat(outputs)
