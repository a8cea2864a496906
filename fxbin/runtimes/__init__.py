"""Compares one model in several runtimes with PyTorch eager."""

from fxbin.runtimes.comparison import compare_runtimes
from fxbin.runtimes.report import RuntimeReport, RuntimeResult

__all__ = ["RuntimeReport", "RuntimeResult", "compare_runtimes"]
