"""Checks that OpenVINO runs the exported file in 1 bit and predicts what PyTorch predicts."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, fx

from fxbin import openvino
from fxbin.train.onnx_check import in_batches
from fxbin.train.predictions import ComparedPredictions, compare_predictions


@dataclass(frozen=True)
class OpenVINOCheck:
    """The result for a file that passed `fxbin.openvino.verify`, with its predictions on held-out images."""

    runtime: str
    """Version of OpenVINO."""

    promised: int
    """Number of convolutions that the export wrote in 1 bit."""

    one_bit: int
    """Number of convolutions that OpenVINO runs in 1 bit."""

    predictions: ComparedPredictions
    """OpenVINO's predictions compared with PyTorch's."""

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as one flat dict of JSON values."""
        counts = {"runtime": self.runtime, "promised": self.promised, "one_bit": self.one_bit}
        return counts | self.predictions.to_dict()


def why_no_openvino() -> str | None:
    """The command that installs OpenVINO if it is missing; else None."""
    return None if find_spec("openvino") else "openvino not installed: `pip install 'fxbin[openvino]'`"


def check_openvino(
    model: fx.GraphModule, path: Path, images: Tensor, labels: Tensor, logits: Tensor
) -> OpenVINOCheck:
    """Verify the file at `path`, run it on `images` and compare with PyTorch's `logits`.

    Raises VerificationError if a convolution that was exported in 1 bit does not run in 1 bit, or if outputs
    differ from PyTorch's.
    """
    report = openvino.verify(model, path)
    compiled = openvino.compile(path)
    (port, *_) = compiled.inputs
    found = in_batches(lambda x: np.array(compiled([x])[0]), images, port.shape[0])
    return OpenVINOCheck(
        runtime=report.runtime.partition("-")[0],
        promised=report.promised,
        one_bit=report.found,
        predictions=compare_predictions(path, found, logits, labels),
    )
