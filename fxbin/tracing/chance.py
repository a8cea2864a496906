"""Random numbers that Python or numpy draw, which no graph can draw again."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def python_random_kept() -> Iterator[list[str]]:
    """Restore the generators of Python and numpy; in the end the list names those that were used."""
    numpy = sys.modules.get("numpy")
    before = random.getstate()
    before_numpy = None if numpy is None else numpy.random.get_state()
    used: list[str] = []
    try:
        yield used
    finally:
        if random.getstate() != before:
            used.append("random")
            random.setstate(before)
        if numpy is not None and not _same(numpy.random.get_state(), before_numpy):
            used.append("numpy.random")
            numpy.random.set_state(before_numpy)


def _same(left: Any, right: Any) -> bool:
    return all(
        bool((a == b).all()) if hasattr(a == b, "all") else a == b for a, b in zip(left, right, strict=True)
    )
