"""Compares the predictions of a runtime with those of PyTorch on the held-out images."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from fxbin.errors import ExportError
from fxbin.train.epoch import accuracy


@dataclass(frozen=True)
class ComparedPredictions:
    """The predictions of a runtime compared with those of PyTorch, on the held-out images."""

    accuracy: float
    """Accuracy of that runtime, in per cent."""

    compared: int
    """Number of images, without those that cannot be read."""

    differing_predictions: int
    """Number of images that the two assign to different classes."""

    largest_logit_difference: float
    """Largest absolute difference of logits over all images and classes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def compare_predictions(source: object, found: Tensor, logits: Tensor, labels: Tensor) -> ComparedPredictions:
    """Compare the logits `found` of a runtime that ran `source` with PyTorch's `logits`.

    Both are ``(n, classes)``; raises ExportError, which names `source`, if their shapes differ.
    """
    expected = logits.cpu().float()
    if found.shape != expected.shape:
        raise ExportError(
            f"{source} gives outputs of shape {tuple(found.shape)}, PyTorch {tuple(expected.shape)}"
        )
    return ComparedPredictions(
        accuracy=accuracy(found, labels.cpu()),
        compared=len(labels),
        differing_predictions=int((found.argmax(1) != expected.argmax(1)).sum()),
        largest_logit_difference=float((found - expected).abs().max()),
    )
