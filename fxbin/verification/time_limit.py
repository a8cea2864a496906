"""The time limit of a runtime."""

import math
from typing import Any

from fxbin.errors import ExportError

TIME_LIMIT = 600.0
"""Default time limit of one step, in seconds: OpenVINO never finishes compiling some files."""


def check_time_limit(seconds: Any) -> None:
    """Raise ExportError unless `seconds` is a finite number above 0."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ExportError(f"time_limit: expected seconds, a number above 0, got {seconds!r}")
