from pathlib import Path

import torch
from torch import nn

from fxbin import load_config
from fxbin.train.data import open_data
from fxbin.train.evaluation import accuracy_over_ranks, evaluate_as_it_is
from tests.folders import write_folder


def test_a_picture_that_cannot_be_read_does_not_count(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", pictures=4)
    (tmp_path / "val/class_2/000.png").write_text("no picture")
    settings = {"data": f"folder:{tmp_path}", "workers": 0, "bad_pictures": 0.1, "batch_size": 5}
    shape = {"input_info": {"sample_size": [1, 3, 4, 4]}, "pictures": {"normalize": "none"}}
    data = open_data(load_config(settings | shape | {"compression": {"algorithm": "binarization"}}))
    last = nn.Linear(48, 3)
    network = nn.Sequential(nn.Flatten(), last)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))  # which says class 2, of which 3 are left
    network.train()
    assert accuracy_over_ranks(network, data) == evaluate_as_it_is(network, data) == 100 * 3 / 11
    assert network.training
