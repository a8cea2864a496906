"""What reading pictures costs: memory, time waited for them, and the work beside torchvision's own pipeline.

    python tests/benchmarks/data_loading.py [--pictures FOLDER] [--check] [memory|wait|work ...]

`memory`: peak memory of an epoch on a folder of 50 000 pictures, beside one of 500 (the process that
trains, and its largest worker). `wait`: share of the time of a training step of ResNet18 at 64x64 with 2
workers in which it waits for pictures. `work`: processor time of decoding and augmenting a picture, beside
torchvision's `ImageFolder` with its transforms and `default_collate`, in turns. Pictures are the smallest
below --pictures, by default those of Debian's openclipart-png, or random ones. `--check` fails where memory
grows by more than 300 MB, waiting takes 5 % or more, or work is above 1.1 of torchvision's.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))
from fxbin import load_config
from fxbin.config import Config
from fxbin.train.data import open_data
from fxbin.train.data.picture_data import PictureData
from fxbin.train.data.preprocessing import import_v2
from fxbin.train.model_spec import build_model

MOST_MEGABYTES, MOST_WAITING, MOST_WORK = 300, 0.05, 1.1
CLASSES, DIFFERENT = 20, 2000
CLIPART = Path("/usr/share/openclipart/png")

TRAINING = """
import json, resource, sys
from pathlib import Path
from fxbin.train.run import train

train(json.loads(sys.argv[1]), Path(sys.argv[2]), restart=True)
kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(sum(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024)
"""


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    """The settings of all measurements."""
    return {
        "data": f"folder:{folder}",
        "model": "torchvision:resnet18",
        "input_info": {"sample_size": [1, 3, 64, 64]},
        "batch_size": 64,
        "device": "cpu",
        "threads": 1,
        "augmentation": {"crop": 0.2, "flip": True},
        "pictures": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "compression": {"algorithm": "binarization"},
    } | changes


def sources(folder: Path | None, scratch: Path) -> list[Path]:
    """Different pictures: those below `folder`, the smallest first, or random ones."""
    if folder is not None and folder.is_dir():
        found = sorted(folder.rglob("*.png"), key=lambda path: path.stat().st_size)
        return found[:DIFFERENT]
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(500):
        pixels = torch.randint(256, (96, 96, 3), generator=generator, dtype=torch.uint8)
        found.append(scratch / f"{index}.png")
        Image.fromarray(pixels.numpy()).save(found[-1])
    return found


def filled(folder: Path, pictures: list[Path], count: int) -> Path:
    """`folder` with `count` names for `pictures`, in a folder for each class."""
    for label in range(CLASSES):
        (folder / f"class_{label:02}").mkdir(parents=True)
    for index, source in zip(range(count), itertools.cycle(pictures), strict=False):
        (folder / f"class_{index % CLASSES:02}" / f"{index:06}.png").symlink_to(source)
    return folder


def memory(pictures: list[Path], scratch: Path) -> float:
    """Megabytes that an epoch on 50 000 pictures takes more than one on 500."""
    peaks = []
    for count in (500, 50_000):
        folder = filled(scratch / f"memory_{count}", pictures[:200], count)
        # The smallest network that there is: pictures are what is looked at.
        changes = {"model": "resnet_thin", "workers": 2, "epochs": 1, "pretrain": {"epochs": 0}}
        settings = config(folder, **changes, batch_size=256, input_info={"sample_size": [1, 3, 16, 16]})
        command = [sys.executable, "-c", TRAINING, json.dumps(settings), str(scratch / "run")]
        root = Path(__file__).parents[2]
        peaks.append(float(subprocess.check_output(command, cwd=root, text=True).splitlines()[-1]))
        print(f"memory: {count:6} pictures: {peaks[-1]:7.0f} MB")
    return peaks[1] - peaks[0]


def wait(pictures: list[Path], scratch: Path) -> float:
    """Share of training steps that is spent waiting for pictures."""
    settings = load_config(config(filled(scratch / "wait", pictures, 3000), workers=2))
    model = build_model("torchvision:resnet18", num_classes=CLASSES).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    batches = open_data(settings).training(settings, 0).epoch(0)
    next(batches)  # the workers start
    waited, started = 0.0, time.perf_counter()
    for _ in range(25):
        before = time.perf_counter()
        x, labels = next(batches)
        waited += time.perf_counter() - before
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    share = waited / (time.perf_counter() - started)
    print(f"wait: {100 * share:.1f} % of a step of {(time.perf_counter() - started) / 25 * 1000:.0f} ms")
    return share


def work(pictures: list[Path], scratch: Path) -> float:
    """Processor time of reading pictures, beside torchvision's."""
    folder = filled(scratch / "work", pictures, 1200)
    settings = load_config(config(folder, workers=0, held_out_share=0.01))
    ratios = []
    for _ in range(7):
        ours, theirs = seconds_of_ours(settings), seconds_of_torchvision(folder)
        ratios.append(ours / theirs)
        print(f"work: {1e6 * ours:6.0f} us a picture, torchvision {1e6 * theirs:6.0f} us: {ratios[-1]:.3f}")
    return statistics.median(ratios)


def seconds_of_ours(settings: Config) -> float:
    """Seconds for each picture, of batches as the trainer gets them."""
    data = open_data(settings)
    assert isinstance(data, PictureData)
    started, seen = time.process_time(), 0
    for x, _ in data.training(settings, 0).epoch(0):
        seen += len(x)
    return (time.process_time() - started) / seen


def seconds_of_torchvision(folder: Path) -> float:
    """Seconds for each picture of torchvision's pipeline."""
    v2 = import_v2()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    steps = [
        v2.RandomResizedCrop(64, scale=(0.2, 1), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5] * 3, [0.25] * 3),
    ]
    loader = DataLoader(ImageFolder(folder, v2.Compose(steps)), 64, shuffle=True)
    started, seen = time.process_time(), 0
    for x, _ in loader:
        seen += len(x)
    return (time.process_time() - started) / seen


MEASUREMENTS = {"memory": (memory, MOST_MEGABYTES), "wait": (wait, MOST_WAITING), "work": (work, MOST_WORK)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", choices=[[], *MEASUREMENTS])
    parser.add_argument("--pictures", type=Path, default=CLIPART)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = name
        pictures = sources(options.pictures, Path(name))
        for what in options.what or MEASUREMENTS:
            measure, most = MEASUREMENTS[what]
            found = measure(pictures, Path(name))
            print(f"{what}: {found:.3f}, at most {most}")
            failed += [what] if found > most else []
    if options.check and failed:
        sys.exit(f"too much: {', '.join(failed)}")


if __name__ == "__main__":
    main()
