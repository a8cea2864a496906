"""How long a runtime may take."""

import math
from typing import Any

from fxbin.errors import ExportError

TIME_LIMIT = 600.0
"""Seconds for one step. Compiling a network takes OpenVINO some; for some files it does not end."""


def check_time_limit(seconds: Any) -> None:
    """Raise ExportError if `seconds` is no limit."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ExportError(f"time_limit: expected seconds, a number above 0, got {seconds!r}")
