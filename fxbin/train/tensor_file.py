"""Reads files that `torch.save` wrote, without running code."""

from pathlib import Path
from typing import Any

import torch

from fxbin import torch_private


def load_tensors(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read the tensors and plain values in the file at `path`, with tensors on `device`; runs no code.

    Raises ValueError if it cannot be read.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # Arbitrary bytes can make the parser fail with any kind of error.
        raise ValueError(why_unreadable(error)) from error


def why_unreadable(error: Exception) -> str:
    """The message of torch's `error` as part of a sentence, without guesses about how the file was damaged.

    >>> why_unreadable(RuntimeError("not a ZIP archive. This is an internal miniz error. If you are .."))
    'RuntimeError: not a ZIP archive'
    >>> why_unreadable(EOFError())
    'EOFError'
    """
    text = str(error).partition(torch_private.LOAD_GUESS)[0].rstrip(". \n")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
