"""Kinds of values that code and modules hold: plain ones, containers, and objects that may hold others."""

import logging
from collections import deque
from collections.abc import Collection
from enum import Enum
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

try:
    import numpy as np
except ImportError:  # then there are no arrays
    ARRAYS: tuple[type, ...] = ()
    _NUMBERS: tuple[type, ...] = ()
else:
    ARRAYS, _NUMBERS = (np.ndarray,), (np.generic,)

PLAIN = (
    *(bool, int, float, complex, str, bytes, Enum, type(None), type(...), range, slice),
    *_NUMBERS,
    *(torch.dtype, torch.device, torch.memory_format, torch.layout),
)
"""Types of values that cannot change and that are compared by `==`."""

SIMPLE = (bool, int, float, str)
"""Types of numbers and text, such as most settings are."""

CONTAINERS = (list, tuple, dict, set, frozenset, deque)
"""Types whose items are compared, with their subclasses."""

_NO_SETTINGS = (*PLAIN, *ARRAYS, Tensor, ModuleType, logging.Logger)
"""Types whose attributes do not affect what code computes, or are handled elsewhere."""

_LIBRARIES = ("torch", "typing", "numpy")


def is_object(item: Any) -> bool:
    """Whether `item` is an object that may hold settings."""
    if isinstance(item, _NO_SETTINGS):
        return False
    if isinstance(item, type):
        return not is_foreign(item) and not issubclass(item, nn.Module)
    if isinstance(item, FunctionType | MethodType):
        return not is_foreign(item)
    if isinstance(item, partial | nn.Module):
        return True
    has_attributes = hasattr(item, "__dict__") or any(
        "__slots__" in vars(base) for base in bases_of(type(item))
    )
    return has_attributes and not is_foreign(type(item), _LIBRARIES)


def bases_of(kind: type) -> list[type]:
    """The classes of `kind` whose code belongs to a package other than Python's builtins and torch."""
    return [base for base in kind.__mro__ if not is_foreign(base)]


def is_foreign(item: Any, packages: Collection[str] = ("builtins", "torch")) -> bool:
    """Whether `item`, a class or a function, belongs to one of `packages`."""
    return str(getattr(item, "__module__", None)).partition(".")[0] in packages
