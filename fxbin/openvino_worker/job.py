"""What goes into a job, and what comes out."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

Result = tuple[dict[str, Any], dict[str, NDArray[Any]]]

StartStep = Callable[[str], None]
"""Called with what comes next, from which on the time counts: ``"compiling model.onnx"``."""


class MisfitError(Exception):
    """A job that does not fit its file."""
