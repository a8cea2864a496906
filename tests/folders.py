"""Small pictures in folders, one for each class, for `fxbin train` on pictures of one's own."""

from pathlib import Path

import torch


def write_folder(
    root: Path, classes: int = 3, pictures: int = 8, size: tuple[int, int] = (14, 10), seed: int = 0
) -> Path:
    """PNG files of random colours, brighter in each class, in ``root/class_0``, ...; return `root`."""
    from PIL import Image

    generator = torch.Generator().manual_seed(seed)
    for label in range(classes):
        folder = root / f"class_{label}"
        folder.mkdir(parents=True)
        for index in range(pictures):
            low = 200 * label // classes
            pixels = torch.randint(low, low + 55, (*size, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / f"{index:03}.png")
    return root
