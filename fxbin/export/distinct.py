"""Makes the constants of FakeQuantize nodes distinct, so that OpenVINO does not merge nodes."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

Constants = Sequence[Tensor | tuple[int, ...]]


class DistinctLevels:
    """Chooses powers of two by which to scale the levels of call sites with equal constants.

    OpenVINO merges two FakeQuantize nodes with the same input and equal constants. The merged node has two
    consumers, cannot become part of a 1-bit convolution, and computes NaN. Activation levels times 2 ** k and
    weight levels over 2 ** k give the same products, bit for bit.

    The inputs are not compared, because OpenVINO recognizes more equal inputs than a graph shows. A factor
    that is not needed costs nothing.
    """

    def __init__(self) -> None:
        self._taken: defaultdict[str, set[int]] = defaultdict(set)

    def factor(self, activation: Constants, weight: Constants) -> float:
        """Return the smallest power of two that no call site with these constants has yet."""
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
