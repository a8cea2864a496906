"""Global variables of another Python module, for tests/test_values_beyond.py."""

from torch import Tensor

FACTOR = 1.0


def scaled(x: Tensor) -> Tensor:
    return x * FACTOR
