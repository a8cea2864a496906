"""Packs weights and activations into bits, in the order that the engine reads, and unpacks them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fxbin.engine.binary_conv2d import words_of


def pack_signs(weight: Tensor) -> Tensor:
    """Pack `weight` ``(f, c, kh, kw)`` into one bit per value, set where it is above 0.

    The result is uint8 ``(f, kh * kw, ceil(c / 8))``; the first channel is the lowest bit of the first byte.
    It has no fourth axis, because a module's `to` would rearrange that for channels_last.
    """
    bits = (weight > 0).permute(0, 2, 3, 1).flatten(1, 2).to(torch.uint8)
    size = -(-weight.shape[1] // 8)
    eights = F.pad(bits, (0, 8 * size - bits.shape[-1])).unflatten(-1, (size, 8))
    packed: Tensor = (eights << _numbers(8, bits)).sum(-1, dtype=torch.uint8)
    return packed


def unpack_signs(bits: Tensor, channels: int, kernel_size: tuple[int, int]) -> Tensor:
    """Return -1 or 1 in float32 for each bit of `pack_signs`: ``(f, channels, kh, kw)``."""
    found = (bits.unsqueeze(-1) >> _numbers(8, bits)) & 1
    signs: Tensor = found.flatten(-2)[..., :channels].mT.unflatten(-1, kernel_size).float() * 2 - 1
    return signs


def pack_channels(fired: Tensor) -> Tensor:
    """Pack `fired` ``(n, c, h, w)`` into bits, as one convolution hands them to the next.

    The result is int64 ``(n, ceil(c / 64), h, w)``; the first channel is the lowest bit of the first word.
    """
    words = words_of(fired.shape[1])
    bits = F.pad(fired.long(), (0, 0, 0, 0, 0, 64 * words - fired.shape[1])).unflatten(1, (words, 64))
    packed: Tensor = (bits << _numbers(64, bits).view(64, 1, 1)).sum(2)  # bit 63 is the sign
    return packed


def unpack_channels(words: Tensor, channels: int) -> Tensor:
    """Return 0 or 1 in int64 for each bit of `pack_channels`: ``(n, channels, h, w)``."""
    bits = (words.unsqueeze(2) >> _numbers(64, words).view(64, 1, 1)) & 1
    return bits.flatten(1, 2)[:, :channels]


def _numbers(count: int, beside: Tensor) -> Tensor:
    return torch.arange(count, dtype=beside.dtype, device=beside.device)
