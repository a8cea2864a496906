"""The convolution after binarizers, which saves no two-level tensor for its backward."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from fxbin.binarizers.straight_through import BinarizeActivation, BinarizeWeight
from fxbin.onlookers import recordable
from fxbin.torch_private import FORWARD_CLASS, version

_RECOMPUTED = (BinarizeActivation, BinarizeWeight)


@recordable
def conv2d(
    input: Tensor,  # noqa: A002 (the name that F.conv2d has for it)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`F.conv2d`; an input or weight that comes directly from its binarizer is recomputed in backward.

    A convolution saves its input and its weight for backward. The output of a binarizer, whose input is saved
    anyway, takes a pass or two to compute again, and as much memory to keep as that input. Under
    torch.compile this is plain `F.conv2d`: there the compiler decides what to keep.
    """
    arguments = (input, weight, bias, stride, padding, dilation, groups)
    if torch.compiler.is_compiling() or not (_is_recomputed(input) or _is_recomputed(weight)):
        return F.conv2d(*arguments)  # type: ignore[arg-type]
    with saved_tensors_hooks(_pack, _unpack):
        return F.conv2d(*arguments)  # type: ignore[arg-type]


def _is_recomputed(tensor: Tensor) -> bool:
    return getattr(tensor.grad_fn, FORWARD_CLASS, None) in _RECOMPUTED


def _pack(tensor: Tensor) -> Any:
    # This node costs no memory: the node of the convolution refers to it in any case.
    return tensor.grad_fn if _is_recomputed(tensor) else (tensor, version(tensor))


def _unpack(kept: Any) -> Tensor:
    if not isinstance(kept, tuple):
        return getattr(kept, FORWARD_CLASS).computed_again(kept)  # type: ignore[no-any-return]
    tensor: Tensor = kept[0]
    if version(tensor) != kept[1]:  # autograd does not check this for tensors kept by hooks
        raise RuntimeError(
            f"conv2d: its input or weight of shape {tuple(tensor.shape)} has been modified by an inplace "
            "operation since forward, so its gradient cannot be computed; call backward first"
        )
    return tensor
