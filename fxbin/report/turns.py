"""How the forms of a model are timed: they take turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fxbin.errors import ExportError


@dataclass(frozen=True)
class Turns:
    """The forms take turns, so that other load on the machine slows all of them down.

    In each round each form runs once untimed, to fill the caches again, and then `repeat` times. Raises
    ExportError for a number that is not a whole one from 1 on.
    """

    rounds: int
    """Number of rounds in which each form takes its turn."""

    repeat: int
    """Number of measured forwards of each form in a round."""

    threads: int
    """Number of threads of a forward."""

    def __post_init__(self) -> None:
        for option in ("rounds", "repeat", "threads"):
            _check_count(option, getattr(self, option))

    @property
    def clock(self) -> str:
        """``"cpu"``, the time of the process, for one thread, else ``"wall"``."""
        return "cpu" if self.threads == 1 else "wall"

    @property
    def now(self) -> Callable[[], float]:
        """The function that returns the time in seconds."""
        return time.process_time if self.clock == "cpu" else time.perf_counter


def _check_count(option: str, count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ExportError(f"{option}: expected a whole number from 1 on, got {count!r}")
