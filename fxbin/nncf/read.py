"""Reads a file that NNCF's users saved, without NNCF and without running anything in it."""

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from fxbin.errors import CheckpointError
from fxbin.nncf.stage import ENUM_MODULE, ENUM_NAME, CompressionStage


class Discarded:
    """Stands in for an optimizer, which NNCF's sample pickles whole; its content is dropped."""

    def __setstate__(self, state: object) -> None:
        """Drop `state`."""


def _plain_dict(*_: object) -> dict[Any, Any]:
    """In place of a defaultdict."""
    return {}


def _stage(value: int) -> CompressionStage:
    """In place of the enum itself, whose members a pickle could change."""
    return CompressionStage(value)


STAND_INS: dict[str, Callable[..., Any]] = {
    f"{ENUM_MODULE}.{ENUM_NAME}": _stage,
    "collections.defaultdict": _plain_dict,
    "builtins.dict": _plain_dict,
    "torch.optim.adam.Adam": Discarded,
    "torch.optim.adamw.AdamW": Discarded,
    "torch.optim.sgd.SGD": Discarded,
}
"""What may be in a file beside tensors and plain containers, and what is made of it."""


def read_file(path: str | Path) -> dict[str, Any]:
    """The dict in the file at `path`, tensors on the CPU.

    Raises CheckpointError if there is no such file, if it holds no dict, or if it pickles anything but
    tensors, plain containers and the names in `STAND_INS`. Nothing it pickles is imported or called.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from None
    except Exception as error:
        # Bytes from anywhere can make the parser fail in any way.
        raise CheckpointError(
            f"{path}: is not a file that torch.save wrote, or is damaged ({_first_line(error)})"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dict with a state_dict")
    return dict(content)


def _refusal(path: str | Path, message: str) -> str:
    names = _forbidden_names(path) or re.findall(r"GLOBAL (\S+)", message)
    if not names:
        return f"{path}: is not a file that torch.save wrote, or is damaged ({_first_line(message)})"
    return (
        f"{path}: refused, as it pickles {', '.join(sorted(names))}: only tensors, plain containers and "
        "NNCF's CompressionStage are read, since anything else may run code. If the file is to be trusted, "
        'load it where NNCF is installed and save its "state_dict" and "compression_state" alone.'
    )


def _forbidden_names(path: str | Path) -> set[str]:
    """Everything in a file that is refused, though reading stops at the first."""
    if not zipfile.is_zipfile(path):
        return set()
    try:
        found = get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, ValueError, RuntimeError, EOFError):
        return set()
    return {name.replace("__builtin__", "builtins") for name in found} - STAND_INS.keys()


def _first_line(error: object) -> str:
    lines = str(error).partition(" This is an internal")[0].splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
