"""Compares an exported file with PyTorch on the held-out images."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fxbin.train.data.interface import EVALUATION_BATCH
from fxbin.train.predictions import ComparedPredictions, compare_predictions


def why_unavailable() -> str | None:
    """The packages that export and check lack, with the command to install them; None if they have all."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    return f"{', '.join(missing)} not installed: `pip install 'fxbin[onnx]'`" if missing else None


def check_onnx(path: Path, images: Tensor, labels: Tensor, logits: Tensor) -> ComparedPredictions:
    """Run the file at `path` on `images` and compare with PyTorch's `logits`."""
    return compare_predictions(path, predict_with_onnxruntime(path, images), logits, labels)


def predict_with_onnxruntime(path: Path, images: Tensor) -> Tensor:
    """Run the file at `path` in ONNX Runtime on all `images`; return its first output ``(n, ...)``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model_input = session.get_inputs()[0]
    fixed = model_input.shape[0] if isinstance(model_input.shape[0], int) else None
    return in_batches(lambda x: session.run(None, {model_input.name: x})[0], images, fixed)


def in_batches(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]], images: Tensor, fixed: int | None
) -> Tensor:
    """Call `run` on batches of `images` and join the outputs.

    `fixed` is the only batch size that `run` takes, to which a last, smaller batch is padded; None for any.
    """
    outputs = []
    for part in images.cpu().split(fixed or EVALUATION_BATCH):
        missing = (fixed or len(part)) - len(part)
        whole = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        outputs.append(torch.from_numpy(run(whole.numpy()))[: len(part)])
    return torch.cat(outputs)
