"""The result of an export: how each binarized call site was written, and why."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

WeightStorage = Literal["packed", "float"]
"""Storage of binarized weights: one bit each, or float32."""


Operators = Literal["openvino", "fxbin", "standard"]
"""Operators of a file: FakeQuantize, which OpenVINO runs in 1 bit; fxbin's own, which onnxruntime runs in
1 bit if they are registered; or only standard ones."""

NOT_USED = "nothing that the model returns depends on it"
"""The reason of `ExportMode.LEFT_OUT`."""


class ExportMode(StrEnum):
    """The form in which a call site is written; the value is the text for users."""

    ONE_BIT = "1 bit"
    """In a file: FakeQuantize with two levels on both inputs, which OpenVINO runs as a 1-bit convolution, or
    fxbin's operator."""

    FLOAT = "float"
    """In a file: Greater, Where and Mul. Correct in every runtime, at the speed of a float convolution."""

    FULL_PRECISION = "full precision"
    """No binarizers in the file, because both were disabled."""

    LEFT_OUT = "left out"
    """Not in the file, because nothing that the model returns depends on it."""


@dataclass(frozen=True)
class SiteExport:
    """One binarized conv2d call site in an exported file, or in a deployed model."""

    name: str
    """Hierarchical name of the call site: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    mode: ExportMode
    """The form in which it was written."""

    enabled: bool
    """Whether all its binarizers were enabled at this stage."""

    reason: str
    """Why it is not in 1 bit; for a site in 1 bit, the exact rewrite that was needed, or empty."""


@dataclass(frozen=True)
class ExportReport:
    """The result of `export_onnx`."""

    path: Path
    opset: int
    operators: Operators
    weights: WeightStorage
    size: int
    """Number of bytes written."""

    sites: tuple[SiteExport, ...]
    """The binarized call sites in execution order."""

    def count(self, mode: ExportMode) -> int:
        """Number of call sites written in `mode`."""
        return sum(site.mode is mode for site in self.sites)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(mode)} {mode}" for mode in ExportMode)
        lines = [f"{self.path} ({self.size / 1e6:.2f} MB, opset {self.opset}): {counts}"]
        lines += [f"  {site.name}: {site.mode}; {site.reason}" for site in self.sites if site.reason]
        return "\n".join(lines)
