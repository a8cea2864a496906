"""How far a runtime may be from PyTorch."""

import math
from typing import Any

from fxbin.errors import ExportError


def check_tolerance(tolerance: Any) -> None:
    """Raise ExportError if `tolerance` is none."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance < math.inf:
        raise ExportError(f"tolerance: expected a number above 0, such as 1e-4, got {tolerance!r}")
