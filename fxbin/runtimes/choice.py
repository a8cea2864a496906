"""Checks a list of runtimes."""

from collections.abc import Sequence

from fxbin.errors import ExportError


def check_choice(runtimes: Sequence[str], known: Sequence[str]) -> None:
    """Raise ExportError unless `runtimes` is a list of one or more names in `known`."""
    if isinstance(runtimes, str) or not runtimes or not set(runtimes) <= set(known):
        given = [runtimes] if isinstance(runtimes, str) else runtimes
        raise ExportError(
            f"runtimes: expected a list of some of {', '.join(known)}, "
            f"got {', '.join(map(repr, given)) or 'none'}"
        )
