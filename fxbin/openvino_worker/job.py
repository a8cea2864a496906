"""Types of a job's inputs and results."""

import faulthandler
import sys
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Input arrays by key."""

Result = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""Result as JSON values, and output arrays by key."""

StartStep = Callable[[str], None]
"""Announces the next step, ``"compiling model.onnx"``, and restarts the time limit."""


TURN = "your turn"
"""The line by which the worker says that the process that started it may run something of its own."""


def give_turn() -> None:
    """Let the process that started this one run something, and wait until it writes a line.

    The time limit does not count meanwhile.
    """
    faulthandler.cancel_dump_traceback_later()
    print(TURN, flush=True)
    if not sys.stdin.readline():
        raise MisfitError("the process that started this one is gone")


class MisfitError(Exception):
    """The inputs of a job do not fit its file."""
