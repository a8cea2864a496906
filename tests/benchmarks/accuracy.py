"""The accuracy of a binarized network after 18 epochs on 6 000 images of Fashion-MNIST, one seed per run.

    python tests/benchmarks/accuracy.py --config nncf --seed 0 --json runs/accuracy/nncf_0.json
    python tests/benchmarks/accuracy.py --config configs/recommended.json5 --seed 0
    python tests/benchmarks/accuracy.py --validation --set compression.params.base_lr=5e-3

    python tests/benchmarks/accuracy.py --config recommended --protocol large
    python tests/benchmarks/accuracy.py --config recommended --teacher longer

`--config` is a path, or the name of a preset; of a preset, the stages are those of STAGES. With
`--config full_precision`, nothing is binarized: all 26 epochs are those of the first training. Where there is
distillation, the teacher is the network before its stages or, with `--teacher`, one of TEACHERS. The protocol
"large" has all 60 000 images (with --validation, those that are not held out) and half the width.

From the config, `compression` (except for the layers that stay in full precision) and `distillation` are
used. Everything else is the same for all configs: see PROTOCOL. The result is the accuracy of the last epoch
on all 10 000 test images, which are used once, at the very end; with --validation, never. Settings are chosen
by the accuracy on 10 000 *training* images on which no network is trained. Full-precision networks are stored
in --cache, one per seed.

The results are in docs/accuracy.md.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import json5
import torch
from torch import Tensor, nn

from fxbin.compiler.transform import transform
from fxbin.config import Config, load_config
from fxbin.config.preset import preset_names
from fxbin.train.build import model_of
from fxbin.train.data import ImageData, load_images
from fxbin.train.epoch import accuracy, predict
from fxbin.train.history import EpochRecord
from fxbin.train.progress import HEADER, TrainingProgress, epoch_line
from fxbin.train.recorder import Recorder
from fxbin.train.run import pretrain, train_stages

TRAINING_IMAGES = 600
VALIDATION_IMAGES = 1000
SHOWN_IMAGES = 1000
SPLIT_SEED = 0

PROTOCOL: dict[str, Any] = {
    "model": "resnet18_thin",
    "num_classes": 10,
    "data": "fashion-mnist",
    "input_info": {"sample_size": [1, 1, 28, 28]},
    "batch_size": 64,
    "epochs": 18,
    "augmentation": {"shift": 2, "flip": True},
    "pretrain": {"epochs": 8, "lr": 2e-3, "weight_decay": 1e-4},
    "device": "cpu",
}

PROTOCOLS: dict[str, dict[str, Any]] = {"small": {}, "large": {"model_params": {"width": 8}}}
"""What each protocol changes in PROTOCOL."""

TEACHERS: dict[str, dict[str, Any]] = {
    "longer": {},
    "wider": {"small": {"model_params": {"width": 32}}, "large": {"model_params": {"width": 16}}},
}
"""Other teachers: the protocol's network after all 26 epochs in full precision, as it is or twice as wide."""

STAGES: dict[str, Any] = {
    "activations_quant_start_epoch": 0,
    "weights_quant_start_epoch": 1,
    "lr_poly_drop_start_epoch": 6,
    "lr_poly_drop_duration_epochs": 12,
}
"""The stages of a preset, which has none of its own, in the 18 epochs of the protocols."""

BINARIZER = "_binarizer."
"""What the keys of binarizers contain in a state_dict."""

FULL_PRECISION_SCOPES = ["ResNetThin/NNCFConv2d[conv1]/conv2d_0", r"{re}\[downsample\]"]
"""Stem and shortcuts; the classifier is no conv2d. 16 convs are binarized."""

FULL_PRECISION = "full_precision"
"""The name, instead of a config, of the training that binarizes nothing."""

NNCF: dict[str, Any] = {
    "compression": {
        "algorithm": "binarization",
        "mode": "xnor",
        "params": {
            "activations_quant_start_epoch": 2,
            "weights_quant_start_epoch": 6,
            "lr_poly_drop_start_epoch": 12,
            "lr_poly_drop_duration_epochs": 6,
            "disable_wd_start_epoch": 12,
            "base_lr": 1e-3,
            "base_wd": 1e-5,
        },
    },
    "distillation": {"enabled": True, "temperature": 1.0, "weight": 1.0},
}
"""The settings of NNCF's own sample configs, with the epochs of this protocol."""


class Lines(TrainingProgress):
    """A line an epoch; its last accuracy is that on training images that are not trained on."""

    def epoch_done(self, record: EpochRecord, epochs: int) -> None:
        """Print it at once, as runs are watched through a file."""
        print(epoch_line(record, epochs), flush=True)


def written_config(source: str) -> dict[str, Any]:
    """The content of the config at path `source`, of a preset, or NNCF's settings."""
    if source in ("nncf", FULL_PRECISION):
        return NNCF
    if source in preset_names():
        section = {"algorithm": "binarization", "params": STAGES}
        distillation = {"enabled": True, "temperature": 1.0, "weight": 1.0}
        config = {"preset": source, "compression": section, "distillation": distillation}
        return load_config(config).to_dict()
    return load_config(source).to_dict()


def config_for(source: str, changes: list[str], seed: int, threads: int, protocol: str = "small") -> Config:
    """The config `source`, made to follow the protocol."""
    chosen: dict[str, Any] = json.loads(json.dumps(written_config(source)))
    for change in changes:
        key, _, value = change.partition("=")
        *sections, last = key.split(".")
        place = chosen
        for section in sections:
            place = place.setdefault(section, {})
            place = place[0] if isinstance(place, list) else place
        place[last] = json5.loads(value)
    compression = chosen["compression"]
    algorithm = compression[0] if isinstance(compression, list) else compression
    kept = {"compression": algorithm | {"ignored_scopes": FULL_PRECISION_SCOPES}}
    if "distillation" in chosen:
        kept["distillation"] = chosen["distillation"]
    written = PROTOCOL | PROTOCOLS[protocol] | kept | {"seed": seed, "threads": threads}
    if source == FULL_PRECISION:
        epochs = PROTOCOL["pretrain"]["epochs"] + PROTOCOL["epochs"]
        written["pretrain"] = PROTOCOL["pretrain"] | {"epochs": epochs}
    return load_config(written)


def split(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of 600 training and of 1 000 further images of each class, the same in all runs."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == label] for label in labels.unique()]
    training = torch.cat([members[:TRAINING_IMAGES] for members in chosen])
    held_out = torch.cat([members[TRAINING_IMAGES:][:VALIDATION_IMAGES] for members in chosen])
    return training, held_out[torch.randperm(len(held_out), generator=generator)]


def protocol_data(protocol: str, *, validation: bool) -> tuple[ImageData, ImageData]:
    """What is trained on, with a thousand held-out images to watch; and the same, with what is scored.

    In a run of "large" for the test images, all others are trained on, so those that are watched as well.
    """
    data = load_images("fashion-mnist")
    training, held_out = split(data.train_y)
    if protocol == "large":
        is_trained = torch.ones(len(data.train_y), dtype=torch.bool)
        is_trained[held_out] = not validation
        training = is_trained.nonzero().flatten()
    x, y = data.train_x[training], data.train_y[training]
    held_x, held_y = data.train_x[held_out], data.train_y[held_out]
    watched = ImageData(data.name, x, y, held_x[:SHOWN_IMAGES], held_y[:SHOWN_IMAGES], data.classes)
    scored = ImageData(data.name, x, y, held_x, held_y, data.classes)
    return watched, scored


def full_precision(config: Config, data: ImageData, cache: Path) -> nn.Module:
    """The network before `transform`, trained or from `cache`."""
    rewrites = config.binarization.rewrites
    width = [f"width{width}" for width in config.model_params.values()]
    epochs = config.pretrain.epochs
    longer = [f"{epochs}epochs"] if epochs != PROTOCOL["pretrain"]["epochs"] else []
    name = "_".join([*width, *longer, *rewrites, f"{len(data.train_y)}", str(config.seed)])
    path = cache / f"full_precision_{name}.pt"
    if path.exists():
        model = model_of(config)
        model = transform(model, config) if rewrites else model
        # The binarizers, of which a rewritten network has some, may have been those of another config.
        saved = {
            key: value for key, value in torch.load(path, weights_only=True).items() if BINARIZER not in key
        }
        missing, unexpected = model.load_state_dict(saved, strict=False)
        assert not unexpected
        assert all(BINARIZER in key for key in missing)
        return model
    recorder = Recorder(cache / f"pretraining_{name}.pt", config.to_dict(), Lines())
    model = pretrain(config, data, torch.device("cpu"), recorder, None)
    torch.save(model.state_dict(), path)
    return model


def teacher_after_all_epochs(arguments: argparse.Namespace, data: ImageData) -> nn.Module:
    """The network of TEACHERS that `arguments` name, trained or from the cache."""
    config = config_for(FULL_PRECISION, [], arguments.seed, arguments.threads, arguments.protocol)
    changes = TEACHERS[arguments.teacher].get(arguments.protocol, {})
    return full_precision(load_config(config.to_dict() | changes), data, arguments.cache)


def scores(networks: dict[str, nn.Module], data: ImageData) -> dict[str, float]:
    """Per cent right of the images that `data` has for testing, of each network."""
    return {name: accuracy(predict(network, data.test_x), data.test_y) for name, network in networks.items()}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    config = config_for(
        *(arguments.config, arguments.set, arguments.seed, arguments.threads, arguments.protocol)
    )
    torch.set_num_threads(arguments.threads)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    watched, validation = protocol_data(arguments.protocol, validation=arguments.validation)
    print(HEADER, flush=True)
    start = full_precision(config, watched, arguments.cache)
    teacher = teacher_after_all_epochs(arguments, watched) if arguments.teacher else start
    recorder = Recorder(arguments.cache / f"run_{arguments.seed}.pt", config.to_dict(), Lines())
    networks = {"full_precision": start}
    started = time.perf_counter()
    if arguments.config != FULL_PRECISION:
        networks["binarized"], _ = train_stages(config, start, teacher, watched, recorder, None)
    seconds = time.perf_counter() - started
    on_validation = scores(networks, validation)
    on_test = None if arguments.validation else scores(networks, load_images("fashion-mnist"))
    return {
        "config": arguments.config,
        "protocol": arguments.protocol,
        "parameters": sum(parameter.numel() for parameter in [*networks.values()][-1].parameters()),
        "changes": arguments.set,
        "teacher": arguments.teacher,
        "seed": arguments.seed,
        "validation": on_validation,
        "test": on_test,
        "seconds": round(seconds),
        "torch": torch.__version__,
        "settings": config.to_dict(),
        "epochs": [record.to_dict() for record in recorder.history],
    }


def main() -> None:
    """Parse the command line, run, print and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="nncf", help="path of a config, a preset, nncf or full_precision")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="small")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one key of it"
    )
    parser.add_argument("--teacher", choices=TEACHERS, help="learn from another network than the start")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--validation", action="store_true", help="leave the test images alone")
    parser.add_argument("--cache", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", type=Path, help="write the result there")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps({key: value for key, value in result.items() if key not in ("settings", "epochs")}))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
