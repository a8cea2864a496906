"""Distinguishes bugs of fxbin from errors of the code that is traced.

Every error during a trace passes through fxbin, which wraps the functions of torch and some of Python. It is
a bug of fxbin if a line of fxbin raised it, unless that line speaks for the traced code: it calls what the
code asked for, which may be a C function without a frame, or raises what Python would raise.
"""

import os
import traceback
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

from fxbin.errors import FxbinError

F = TypeVar("F", bound=Callable[..., Any])

TOLERANT = "FXBIN_TOLERANT"
"""Environment variable: with 1, bugs become warnings, and modules in which they occur run their own code."""

_NOT_BUGS = (FxbinError, Warning, RecursionError, MemoryError)
"""Raised on purpose, or wherever the code happens to be when memory or the stack is used up."""

_speaking: set[CodeType] = set()


def speaks_for_user(function: F) -> F:
    """Decorator: errors raised by `function` itself, not by what it calls in fxbin, are those of a model."""
    _speaking.add(function.__code__)
    return function


@speaks_for_user
def as_asked(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, as the code of a model asked for it."""
    return function(*args, **kwargs)


def raise_bug(error: Exception) -> None:
    """Raise `error` again if it is a bug of fxbin, with a note on how to report it.

    Call it where errors become properties of a model: the reason why a module is an island, or a TraceError.
    """
    if not _is_bug(error):
        return
    if os.environ.get(TOLERANT, "0") not in ("", "0"):
        warnings.warn(f"a bug in fxbin, please report it: {_described(error)}", RuntimeWarning, stacklevel=2)
        return
    if _NOTE not in getattr(error, "__notes__", ()):
        error.add_note(_NOTE)
    raise error


_NOTE = (
    "This is a bug in fxbin, not a property of your model: please report it, with this traceback and the "
    f"versions of fxbin and torch. {TOLERANT}=1 in the environment turns it into a warning: the module whose "
    "code was traced then runs as plain Python, and only the modules that it calls become graphs."
)


def _is_bug(error: Exception) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, _NOT_BUGS) or not frames:
        return False
    is_ours = str(frames[-1].f_globals.get("__name__")).startswith("fxbin.")
    return is_ours and frames[-1].f_code not in _speaking


def _described(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (at {last.filename}:{last.lineno})"
