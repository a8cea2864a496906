"""What an export did with each binarized call site, and why."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

WeightStorage = Literal["packed", "float"]
"""How binarized weights are stored: one bit each, or as float32."""


Operators = Literal["openvino", "standard"]
"""What a file is made of: with FakeQuantize, which OpenVINO runs in 1 bit, or standard operators alone."""


class ExportMode(StrEnum):
    """How one call site was written; the value is what people read."""

    ONE_BIT = "1 bit"
    """FakeQuantize with two levels on both inputs: OpenVINO's 1-bit convolution takes it."""

    FLOAT = "float"
    """Greater, Where and Mul: the right numbers in every runtime, at the speed of a float convolution."""

    FULL_PRECISION = "full precision"
    """Both binarizers were disabled, so nothing of them is in the file."""

    LEFT_OUT = "left out"
    """Nothing that the model returns depends on it, so it is not in the file."""


@dataclass(frozen=True)
class SiteExport:
    """One binarized conv2d call site in an exported file."""

    name: str
    """Hierarchical name of the call site: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    mode: ExportMode
    enabled: bool
    """Whether both its activations and its weights were binarized at this stage."""

    reason: str
    """Why not in 1 bit; for a site in 1 bit, the exact rewrite that was needed, or empty."""


@dataclass(frozen=True)
class ExportReport:
    """Result of `export_onnx`."""

    path: Path
    opset: int
    operators: Operators
    weights: WeightStorage
    size: int
    """Bytes written."""

    sites: tuple[SiteExport, ...]
    """In execution order."""

    def count(self, mode: ExportMode) -> int:
        """Number of call sites written in `mode`."""
        return sum(site.mode is mode for site in self.sites)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(mode)} {mode}" for mode in ExportMode)
        lines = [f"{self.path} ({self.size / 1e6:.2f} MB, opset {self.opset}): {counts}"]
        lines += [f"  {site.name}: {site.mode}; {site.reason}" for site in self.sites if site.reason]
        return "\n".join(lines)
