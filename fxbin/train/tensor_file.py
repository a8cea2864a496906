"""Reads what `torch.save` wrote."""

from pathlib import Path
from typing import Any

import torch


def load_tensors(path: Path, device: torch.device | str = "cpu") -> Any:
    """The tensors and plain values in the file at `path`, tensors on `device`; nothing in it is run.

    ValueError says why it cannot be read.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # Bytes from anywhere can make the parser fail in any way.
        raise ValueError(why_unreadable(error)) from error


def why_unreadable(error: Exception) -> str:
    """What torch says, for the middle of a sentence; without its guesses at how a file was damaged.

    >>> why_unreadable(RuntimeError("not a ZIP archive. This is an internal miniz error. If you are .."))
    'RuntimeError: not a ZIP archive'
    >>> why_unreadable(EOFError())
    'EOFError'
    """
    text = str(error).partition(" This is an internal")[0].rstrip(". \n")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
