"""Compares and times one model in several runtimes."""

from fxbin.report.benchmark import BenchmarkReport, Timing
from fxbin.runtimes.bench import benchmark
from fxbin.runtimes.comparison import compare_runtimes
from fxbin.runtimes.report import RuntimeReport, RuntimeResult

__all__ = [
    "BenchmarkReport",
    "RuntimeReport",
    "RuntimeResult",
    "Timing",
    "benchmark",
    "compare_runtimes",
]
