"""What draws random numbers from a state of its own."""

import random
import sys
from typing import Any

import torch


def generator_types() -> tuple[type, ...]:
    """Classes of objects that draw random numbers from a state of their own."""
    numpy = sys.modules.get("numpy")
    of_numpy = () if numpy is None else (numpy.random.Generator, numpy.random.RandomState)
    return (random.Random, torch.Generator, *of_numpy)


def generators_of_process() -> dict[str, Any]:
    """The generators behind functions such as `random.random` and `numpy.random.rand`."""
    found = {"random": _owner(random.random)}
    if "numpy" in sys.modules:
        found["numpy.random"] = _owner(sys.modules["numpy"].random.rand)
    return found


def _owner(method: Any) -> Any:
    return method.__self__


def is_of_its_own(generator: Any) -> bool:
    """Whether `generator` is none of these, and has a state at all."""
    is_known = any(generator is known for known in generators_of_process().values())
    return not is_known and not isinstance(generator, random.SystemRandom)
