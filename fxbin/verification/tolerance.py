"""The allowed difference between a runtime and PyTorch."""

import math
from typing import Any

from fxbin.errors import ExportError


def check_tolerance(tolerance: Any) -> None:
    """Raise ExportError unless `tolerance` is a finite number above 0."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance < math.inf:
        raise ExportError(f"tolerance: expected a number above 0, such as 1e-4, got {tolerance!r}")
