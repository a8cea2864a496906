"""Reads a file that was saved with NNCF, without NNCF and without running code in it."""

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from fxbin import torch_private
from fxbin.errors import CheckpointError
from fxbin.nncf.stage import ENUM_MODULE, ENUM_NAME, CompressionStage


class Discarded:
    """Replaces a pickled optimizer, as in files of NNCF's sample scripts, and drops its content."""

    def __setstate__(self, state: object) -> None:
        """Drop `state`."""


def _plain_dict(*_: object) -> dict[Any, Any]:
    """Replaces the class `defaultdict`: makes an empty dict."""
    return {}


def _stage(value: int) -> CompressionStage:
    """Replaces NNCF's enum: a function, because a pickle could change the members of a class."""
    return CompressionStage(value)


STAND_INS: dict[str, Callable[..., Any]] = {
    f"{ENUM_MODULE}.{ENUM_NAME}": _stage,
    "collections.defaultdict": _plain_dict,
    "builtins.dict": _plain_dict,
    "torch.optim.adam.Adam": Discarded,
    "torch.optim.adamw.AdamW": Discarded,
    "torch.optim.sgd.SGD": Discarded,
}
"""Names that a file may pickle besides tensors and plain containers, and the callables that replace them."""


def read_file(path: str | Path) -> dict[str, Any]:
    """Read the dict in the file at `path`, with tensors on the CPU.

    Raises CheckpointError if the file does not exist, does not contain a dict, or pickles anything but
    tensors, plain containers and the names in `STAND_INS`. Nothing it names is imported or called.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from None
    except Exception as error:
        # Arbitrary bytes can make the parser fail with any kind of error.
        raise CheckpointError(
            f"{path}: is not a file that torch.save wrote, or is damaged ({_first_line(error)})"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dict with a state_dict")
    return dict(content)


def _refusal(path: str | Path, message: str) -> str:
    names = _forbidden_names(path) or re.findall(torch_private.FORBIDDEN_GLOBAL, message)
    if not names:
        return f"{path}: is not a file that torch.save wrote, or is damaged ({_first_line(message)})"
    return (
        f"{path}: refused, because it pickles {', '.join(sorted(names))}: only tensors, plain containers and "
        "NNCF's CompressionStage are read, since anything else may run code. If the file is to be trusted, "
        'load it where NNCF is installed and save its "state_dict" and "compression_state" alone.'
    )


def _forbidden_names(path: str | Path) -> set[str]:
    """All names in a file that are refused, as reading stops at the first one."""
    if not zipfile.is_zipfile(path):
        return set()
    try:
        found = get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, ValueError, RuntimeError, EOFError):
        return set()
    return {name.replace("__builtin__", "builtins") for name in found} - STAND_INS.keys()


def _first_line(error: object) -> str:
    lines = str(error).partition(torch_private.LOAD_GUESS)[0].splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
