"""Signs as bits, in the order that the engine reads."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pack_signs(weight: Tensor) -> Tensor:
    """One bit for each value of `weight` ``(f, c, kh, kw)``, set where it is above 0.

    The result is uint8 ``(f, kh * kw, ceil(c / 8))``; the first channel is the lowest bit of the first byte.
    It has no fourth axis, as a module's `to` would rearrange it for channels_last.
    """
    bits = (weight > 0).permute(0, 2, 3, 1).flatten(1, 2).to(torch.uint8)
    size = -(-weight.shape[1] // 8)
    eights = F.pad(bits, (0, 8 * size - bits.shape[-1])).unflatten(-1, (size, 8))
    packed: Tensor = (eights << _bit_numbers(weight)).sum(-1, dtype=torch.uint8)
    return packed


def unpack_signs(bits: Tensor, channels: int, kernel_size: tuple[int, int]) -> Tensor:
    """-1 or 1 in float32 for each bit of `pack_signs`: ``(f, channels, kh, kw)``."""
    found = (bits.unsqueeze(-1) >> _bit_numbers(bits)) & 1
    signs: Tensor = found.flatten(-2)[..., :channels].mT.unflatten(-1, kernel_size).float() * 2 - 1
    return signs


def _bit_numbers(beside: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=beside.device)
