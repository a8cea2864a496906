"""Puts RPReLU behind the sums of binarized convolutions."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from fxbin.added import RPReLU
from fxbin.passes.insert_activation import InsertActivation


@dataclass(frozen=True)
class InsertRPReLU(InsertActivation):
    """Apply RPReLU to the sum behind each binarized convolution, as `InsertActivation` says.

    Source: Liu et al. 2020, ReActNet, arXiv:2003.03488, eq. (4).
    """

    name: ClassVar[str] = "insert-rprelu"
    key: ClassVar[str] = "rprelu"
    layer: ClassVar[str] = "rprelu"

    @override
    def new_layer(self, channels: int, *, batched: bool) -> RPReLU:
        return RPReLU(channels, batched=batched)
