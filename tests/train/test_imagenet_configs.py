"""The shipped configs for ImageNet, on a folder with its layout."""

from pathlib import Path
from typing import Any

import pytest

from fxbin import load_config
from fxbin.train.run import train
from tests.folders import write_folder

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["xnor", "dorefa"])
def test_a_shipped_config_trains_on_a_folder_with_the_layout_of_imagenet(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "train", classes=2, pictures=2, size=(40, 30))
    write_folder(tmp_path / "val", classes=2, pictures=1, size=(40, 30))
    config: dict[str, Any] = load_config(CONFIGS / f"resnet18_imagenet_{name}.json5").to_dict()
    config |= {"data_dir": str(tmp_path), "device": "cpu", "workers": 0}
    # Less of it: no download, small pictures, and the last stage alone.
    config |= {"pretrained": False, "input_info": {"sample_size": [1, 3, 64, 64]}, "epochs": 1}
    params = config["compression"][0]["params"]
    params |= {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 0}
    config["distillation"] = {"enabled": False}
    trained = train(config, tmp_path / "run")
    assert [record.stage for record in trained.history] == ["activations and weights"]
    assert trained.data.class_names == ("class_0", "class_1")
