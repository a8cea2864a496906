"""The checkpoints that NNCF 2.9 wrote of a small network, and that network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import CheckpointError
from fxbin.nncf import load_nncf_checkpoint
from tests.tiny_resnet import TinyResNet
from tests.zoo import DATA

MODES = ("xnor", "dorefa")


def recorded(mode: str = "xnor") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(DATA / f"nncf_tiny_{mode}_plain.pth", weights_only=True)
    return content


def real_file(mode: str = "xnor") -> Path:
    return DATA / f"nncf_tiny_{mode}.pth"


def new_model(golden: dict[str, Any], **params: Any) -> BinarizedModule:
    section = golden["config"]["compression"]
    config = {
        **golden["config"],
        "compression": {**section, "params": {**section["params"], **params}},
    }
    return fxbin.transform(TinyResNet(), config).eval()


def error_in(model: nn.Module, source: Any, **options: Any) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_nncf_checkpoint(model, source, **options)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return str(caught.value)
