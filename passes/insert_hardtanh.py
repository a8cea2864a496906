"""Puts Hardtanh behind the sums of binarized convolutions."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from fxbin.added import Hardtanh
from fxbin.passes.insert_activation import InsertActivation


@dataclass(frozen=True)
class InsertHardtanh(InsertActivation):
    """Apply Hardtanh to the sum behind each binarized convolution, as `InsertActivation` says.

    A sign around 0 is 1 for whatever a ReLU returns. Hardtanh keeps signs.

    Source: the published code of IR-Net (Qin et al. 2020, arXiv:1909.10788) and of ReCU (Xu et al. 2021,
    arXiv:2103.12369).
    """

    name: ClassVar[str] = "insert-hardtanh"
    key: ClassVar[str] = "hardtanh"
    layer: ClassVar[str] = "hardtanh"

    @override
    def new_layer(self, channels: int, *, batched: bool) -> Hardtanh:
        return Hardtanh()
