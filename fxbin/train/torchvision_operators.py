"""Makes `import torchvision` work where its compiled part was built for another torch."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""Operators to which torchvision gives functions when it is imported, which stops it if they do not exist."""


@cache
def declare_operators() -> torch.library.Library | None:
    """Declare the operators of torchvision if its compiled part does not load, so that it can be imported.

    A torchvision for CUDA does not load beside a torch for CPUs, nor the reverse. Its models and transforms
    are Python code, which works then; operators such as nms raise an error when they are called.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    try:
        for compiled in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(compiled)
    except OSError:
        return None if hasattr(torch.ops.torchvision, "nms") else _declared()
    return None


def _declared() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for schema in OPERATORS:
        library.define(schema)
    return library
