"""Small images in the file format of Fashion-MNIST, for `fxbin train` as a program."""

import gzip
import struct
from pathlib import Path

import torch


def write_pictures(folder: Path, train: int, held_out: int) -> None:
    """Random pictures of 8 x 8 pixels with labels 0 to 9 into `folder`."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", train), ("t10k", held_out)):
        pictures = torch.randint(256, (count, 8, 8), generator=generator, dtype=torch.uint8)
        labels = (torch.arange(count) % 10).to(torch.uint8)
        for kind, content in (("images-idx3", pictures), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{content.dim()}I", 0, 0, 8, content.dim(), *content.shape)
            path = folder / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(header + content.numpy().tobytes()))
