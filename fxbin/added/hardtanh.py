"""The activation of networks whose activations are binarized around 0."""

import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from fxbin.added.layer import AddedLayer


class Hardtanh(AddedLayer):
    """y = min(max(x, -1), 1), of any shape."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        return F.hardtanh(x)
