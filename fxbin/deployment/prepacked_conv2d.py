"""A float32 convolution whose weight is arranged for oneDNN only once."""

import platform
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary
from typing_extensions import override

from fxbin import torch_private
from fxbin.binarizers.axes import pair
from fxbin.onlookers import is_unseen

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

_arranged: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""For each weight: what its arranged form was made from and for, and the arranged form."""


class PrepackedConv2d(nn.Conv2d):
    """An `nn.Conv2d` with one group that computes the same, but arranges its weight for oneDNN only once.

    PyTorch does that in each call, which takes 5 of the 8 milliseconds of a 1x1 convolution from 1024 to 2048
    channels at 14x14. The arranged weight, as large as the original, is held beside it. It is made again
    after a write to the weight, and for an input of another size. Compilers, exports and other recorders of
    operators see an `nn.Conv2d`.
    """

    def __init__(self, conv: nn.Conv2d, padding: tuple[int, int]) -> None:
        """Take over weight and bias of `conv`; `padding` is its rows and columns of zeros on each side."""
        kernel, stride, dilation = pair(conv.kernel_size), pair(conv.stride), pair(conv.dilation)
        super().__init__(
            conv.in_channels, conv.out_channels, kernel, stride, padding, dilation, device="meta"
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    @override
    def forward(self, input: Tensor) -> Tensor:
        if not self._may_bypass_operators(input):
            return super().forward(input)
        geometry = self.padding, self.stride, self.dilation, 1
        y: Tensor = torch_private.arranged_conv2d(
            input, self._arranged_weight(input, geometry), self.bias, *geometry, "none", [], ""
        )
        return y

    @property
    def form_bytes(self) -> int:
        """Number of bytes of the arranged weight, which is held beside the weight itself."""
        found = _arranged.get(self.weight)
        return 0 if found is None else int(found[1].nbytes)

    def _may_bypass_operators(self, x: Tensor) -> bool:
        """Whether `F.conv2d` would call oneDNN with `x` as it is, and nobody sees the difference."""
        is_enabled: Any = torch.backends.mkldnn.enabled  # a bool, but PyTorch's stubs do not say so
        return (
            _IS_X86
            and is_enabled
            and is_unseen(x)
            and self.weight.is_cpu
            and not (torch.is_grad_enabled() and any(each.requires_grad for each in self.parameters()))
            and not torch.is_autocast_enabled("cpu")
            and x.dtype == self.weight.dtype == torch.float32
            and x.dim() == 4
            and x.shape[1] == self.in_channels
            and x.numel() > 0
            and x.is_contiguous(memory_format=torch.channels_last)
            and not self.weight.is_inference()  # which would not show that it was written to
        )

    def _arranged_weight(self, x: Tensor, geometry: tuple[Any, ...]) -> Tensor:
        weight = self.weight
        made_for = torch_private.version(weight), weight.data_ptr(), weight.stride(), x.shape, geometry
        found = _arranged.get(weight)
        if found is None or found[0] != made_for:
            found = made_for, torch_private.arranged_weight(weight, *geometry, list(x.shape))
            _arranged[weight] = found
        arranged: Tensor = found[1]
        return arranged
