"""Small WebDataset shards for `fxbin train` on streams."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import torch


def write_shards(folder: Path, name: str, counts: Sequence[int], classes: int = 3, size: int = 8) -> str:
    """Shards ``folder/name-0.tar``, ... of PNG pictures; return their pattern.

    The picture at position i of all has the label ``i % classes``, and its first pixel is i, in red.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    position = 0
    for shard, count in enumerate(counts):
        with tarfile.open(folder / f"{name}-{shard}.tar", "w") as tar:
            for _ in range(count):
                pixels = torch.full((size, size, 3), 40 * (position % classes), dtype=torch.uint8)
                pixels[:, :, 0] = position
                content = io.BytesIO()
                Image.fromarray(pixels.numpy()).save(content, "png")
                label = str(position % classes).encode()
                for suffix, data in (("png", content.getvalue()), ("cls", label)):
                    info = tarfile.TarInfo(f"pictures/{position:06}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                position += 1
    return f"{folder}/{name}-{{0..{len(counts) - 1}}}.tar"
