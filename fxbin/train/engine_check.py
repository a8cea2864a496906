"""Checks that the network deployed for the 1-bit engine predicts what PyTorch predicts."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.binarized.module import BinarizedModule
from fxbin.deployment import deploy
from fxbin.engine.library import engine
from fxbin.train.data.interface import EVALUATION_BATCH
from fxbin.train.predictions import ComparedPredictions, compare_predictions


@dataclass(frozen=True)
class EngineCheck:
    """The predictions of the deployed network on held-out images, and how much of it is in 1 bit."""

    binarized: int
    """Number of convolutions with binarizers."""

    one_bit: int
    """Number of those that run in 1 bit; 0 where the engine cannot be built, so that all run in float."""

    predictions: ComparedPredictions
    """The engine's predictions compared with PyTorch's."""

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as one flat dict of JSON values."""
        return {"binarized": self.binarized, "one_bit": self.one_bit} | self.predictions.to_dict()


def check_engine(model: BinarizedModule, images: Tensor, labels: Tensor, logits: Tensor) -> EngineCheck:
    """Deploy `model`, run it on `images` on the CPU, and compare with PyTorch's `logits`.

    Raises ExportError if `model` cannot be deployed.
    """
    deployed = deploy(model).cpu()
    with torch.no_grad():
        found = torch.cat([deployed(part).float() for part in images.cpu().split(EVALUATION_BATCH)])
    return EngineCheck(
        binarized=len(deployed.deployed_sites),
        one_bit=0 if engine() is None else len(deployed.packed_convolutions),
        predictions=compare_predictions("the deployed network", found, logits, labels),
    )
