"""Keeps FakeQuantize nodes with equal constants apart."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

Constants = Sequence[Tensor | tuple[int, ...]]


class DistinctLevels:
    """Hands out powers of two by which the levels of call sites with equal constants are to differ.

    OpenVINO merges two FakeQuantize nodes with one input and equal constants; the merged one has two
    consumers and no longer becomes part of a 1-bit convolution: it computes NaN. Activation levels times
    2 ** k and weight levels over 2 ** k give the same products, bit for bit.

    Whether the inputs are equal too is not asked, since OpenVINO finds more of them equal than a graph
    shows. A factor that was not needed costs nothing.
    """

    def __init__(self) -> None:
        self._taken: defaultdict[str, set[int]] = defaultdict(set)

    def factor(self, activation: Constants, weight: Constants) -> float:
        """The smallest power of two that no call site with one of these constants has."""
        keys = ["activation" + _digest(activation), "weight" + _digest(weight)]
        exponent = 0
        while any(exponent in self._taken[key] for key in keys):
            exponent += 1
        for key in keys:
            self._taken[key].add(exponent)
        return float(2**exponent)


def _digest(constants: Constants) -> str:
    digest = hashlib.sha256()
    for constant in constants:
        data = constant.detach().cpu().contiguous().numpy().tobytes() if isinstance(constant, Tensor) else b""
        shape = tuple(constant.shape) if isinstance(constant, Tensor) else constant
        digest.update(repr(shape).encode() + data)
    return digest.hexdigest()
