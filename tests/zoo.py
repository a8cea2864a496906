"""Models of libraries by name, cheap enough to trace by the dozen."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.other_zoos import ENTRIES

DATA = Path(__file__).parent / "data"
WITH_BACKBONE = (
    "fcn",
    "deeplab",
    "lraspp",
    "fasterrcnn",
    "maskrcnn",
    "keypointrcnn",
    "retinanet",
    "fcos",
    "ssd",
)


def goldens(library: str) -> dict[str, dict[str, Any]]:
    """What NNCF 2.9.0 named: ``{model: {"input": shapes, "nodes": [[name, op]], "targets": names}}``."""
    with gzip.open(DATA / f"names_{library}.json.gz") as file:
        content: dict[str, dict[str, Any]] = json.load(file)
    return content


def build(library: str, name: str) -> nn.Module:
    """The model without trained weights; ``__aux_loss`` after its name adds auxiliary classifiers.

    Skips the test where `library` is not installed.
    """
    package = pytest.importorskip({"torchvision": "torchvision.models"}.get(library, library))
    if library in ENTRIES:
        return ENTRIES[library][name].make()
    if library == "timm":
        model: nn.Module = package.create_model(name)
        return model
    if library == "pytorchcv":
        from pytorchcv.model_provider import get_model

        found: nn.Module = get_model(name, pretrained=False)
        return found
    name, _, aux = name.partition("__")
    options: dict[str, Any] = {"weights": None}
    if aux:
        options["aux_loss"] = True
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    if name.startswith(WITH_BACKBONE):
        options["weights_backbone"] = None
    built: nn.Module = package.get_model(name, **options)
    return built


def build_without_data(library: str, name: str) -> nn.Module:
    """The model with its weights on the meta device, where its constructor can do without them."""
    try:
        with torch.device("meta"):
            return build(library, name)
    except (NotImplementedError, RuntimeError):
        return build(library, name)
