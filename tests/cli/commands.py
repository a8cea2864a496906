"""What tests of commands share: a small config, and how a command is called."""

import json
from pathlib import Path
from typing import Any

import pytest

from fxbin.cli import main

CONFIG = {
    "model": "resnet_thin",
    "epochs": 3,
    "batch_size": 20,
    "pretrain": {"epochs": 1},
    "input_info": {"sample_size": [1, 1, 12, 12]},
    "compression": {
        "algorithm": "binarization",
        "params": {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2},
        "ignored_scopes": ["ResNetThin/NNCFConv2d[conv1]/conv2d_0", "{re}.*\\[downsample\\]/.*"],
    },
}


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(CONFIG | changes))
    return path


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)
