"""Finds the running line of the user's code, for messages."""

import os
import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType

import torch

_LIBRARIES = tuple(f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, Path(__file__).parents[1]))


def user_location() -> str | None:
    """``"file.py:12"`` of the innermost running line that is neither in torch nor in fxbin."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_user_file(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def home_of(frame: FrameType) -> str:
    """The Python module whose code `frame` runs, with a dot at the end: ``"torch.nn.functional."``."""
    return f"{frame.f_globals.get('__name__')}."


def is_asked_by_torch() -> bool:
    """Whether code of torch other than its layers asks, and not that of a model."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        home = home_of(frame)
        if not home.startswith(("fxbin.", "torch._tensor.", "torch.overrides.")):
            return home.startswith("torch.") and not home.startswith("torch.nn.")
        frame = frame.f_back
    return False


def error_location(trace: TracebackType | None) -> str | None:
    """``"file.py:12"`` of the innermost line in `trace` that is neither in torch nor in fxbin."""
    for frame, line in reversed(list(traceback.walk_tb(trace))):
        if is_user_file(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{line}"
    return None


def is_user_file(path: str) -> bool:
    """Whether `path` is a file, and not one of torch or fxbin."""
    return not path.startswith((*_LIBRARIES, "<"))
