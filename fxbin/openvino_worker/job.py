"""Types of a job's inputs and results."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Input arrays by key."""

Result = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""Result as JSON values, and output arrays by key."""

StartStep = Callable[[str], None]
"""Announces the next step, ``"compiling model.onnx"``, and restarts the time limit."""


class MisfitError(Exception):
    """The inputs of a job do not fit its file."""
