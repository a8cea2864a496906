"""Reads the IDX file format, in which MNIST and similar data sets are distributed."""

import gzip
import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from fxbin.errors import DataError

UNSIGNED_BYTE = 0x08
GZIP = b"\x1f\x8b"


def read_idx(path: Path) -> Tensor:
    """Read one IDX file of unsigned bytes, gzip-compressed or plain.

    Layout: two zero bytes, the element type, the number of dimensions, each dimension as a
    big-endian 32-bit number, the elements in row-major order
    (http://yann.lecun.com/exdb/mnist, "The IDX file format").

    Shapes: ``(n, height, width)`` for images, ``(n,)`` for labels; uint8.
    Errors: DataError if the file is missing, damaged, not IDX, of another element type, empty, or cut short.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz" or content.startswith(GZIP):
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is not a complete gzip file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it starts with {content[:4].hex(' ')}, expected 00 00")
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTE:
        raise DataError(f"{path} holds elements of IDX type {kind:#04x}, expected 0x08 (unsigned bytes)")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path} ends inside its header")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path} announces shape {shape} but holds {len(content) - start} elements")
    if not math.prod(shape):
        raise DataError(f"{path} holds no elements: its shape is {shape}")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)
