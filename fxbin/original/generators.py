"""Finds random number generators: those of the process, and those with a separate state."""

import random
import sys
from typing import Any

import torch


def generator_types() -> tuple[type, ...]:
    """Classes of random number generators with their own state: of Python, torch and, if loaded, numpy."""
    numpy = sys.modules.get("numpy")
    of_numpy = () if numpy is None else (numpy.random.Generator, numpy.random.RandomState)
    return (random.Random, torch.Generator, *of_numpy)


def generators_of_process() -> dict[str, Any]:
    """The generators behind functions such as `random.random` and `numpy.random.rand`, by Python module."""
    found = {"random": _owner(random.random)}
    if "numpy" in sys.modules:
        found["numpy.random"] = _owner(sys.modules["numpy"].random.rand)
    return found


def _owner(method: Any) -> Any:
    return method.__self__


def has_own_state(generator: Any) -> bool:
    """Whether `generator` has a state, and is not one of `generators_of_process`."""
    is_known = any(generator is known for known in generators_of_process().values())
    return not is_known and not isinstance(generator, random.SystemRandom)
