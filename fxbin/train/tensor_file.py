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
        raise ValueError(f"{type(error).__name__}: {error}") from error
