from pathlib import Path

import pytest
import torch
from torch import nn

import fxbin
from fxbin.errors import CheckpointError
from fxbin.train.data.kept import (
    check_same_preprocessing,
    class_names,
    kept_in_file,
    metadata_of,
    preprocessing,
)
from fxbin.train.data.preprocessing import Preprocessing

KEPT = {
    "classes": ["cat", "Küchenschelle"],
    "pictures": Preprocessing(3, 8, 8, 9, "bicubic", (0.1, 0.2, 0.3), (1.0, 1.0, 0.5)).to_dict(),
}


def test_an_exported_file_names_the_classes_and_says_how_pictures_become_inputs(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    config = {"compression": {"algorithm": "binarization"}, "input_info": {"sample_size": [1, 3, 8, 8]}}
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()), config)
    model.binarization.enable(activations=True, weights=True)
    model(torch.rand(2, 3, 8, 8))  # scales are those of a training batch
    path = tmp_path / "net.onnx"
    fxbin.export_onnx(model, path, metadata=metadata_of(KEPT))
    assert kept_in_file(path) == KEPT
    fxbin.export_onnx(model, path)
    assert kept_in_file(path) is None


def test_a_picture_is_read_as_what_was_kept_says(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.png"
    Image.new("RGB", (20, 10), (0, 51, 255)).save(path)
    found = preprocessing(KEPT)
    assert found is not None
    expected = torch.tensor([-0.1, 0.0, 1.4]).view(3, 1, 1).expand(3, 8, 8)
    torch.testing.assert_close(found.read(path), expected, atol=1e-6, rtol=1e-6)
    assert class_names(KEPT) == ("cat", "Küchenschelle")
    assert preprocessing(None) is None
    assert class_names(None) is None


def test_other_inputs_than_those_that_a_run_was_started_with_are_refused() -> None:
    check_same_preprocessing(KEPT, KEPT)
    check_same_preprocessing(None, KEPT)
    other = {"pictures": Preprocessing(3, 8, 8, 9, "bicubic", (0.1, 0.2, 0.4), (1.0, 1.0, 0.5)).to_dict()}
    with pytest.raises(CheckpointError, match=r"0\.3\).*, now they are of .*0\.4\)"):
        check_same_preprocessing(KEPT, other)
