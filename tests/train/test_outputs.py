import copy
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import fxbin
from fxbin.engine.library import Engine
from fxbin.errors import ExportError
from fxbin.train import onnx_check
from fxbin.train.data import ImageData
from fxbin.train.engine_check import check_engine
from fxbin.train.history import EpochRecord
from fxbin.train.onnx_check import check_onnx
from fxbin.train.outputs import write_outputs
from fxbin.train.progress import TrainingProgress
from fxbin.train.run import Trained
from tests.binarizing import as_if_trained

CONFIG = {
    "input_info": {"sample_size": [2, 1, 6, 6]},
    "compression": {"algorithm": "binarization"},
    "model": "net.py:make",
}


class Notes(TrainingProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def trained(built: Engine) -> Trained:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    model = as_if_trained(fxbin.transform(net, CONFIG))
    x, y = torch.randn(5, 1, 6, 6), torch.arange(5) % 3
    record = EpochRecord("staged", 0, "activations and weights", 1e-3, 1e-5, 0.5, 80.0, 70.0, 1.0)
    return Trained(model, ImageData("mnist", x, y, x, y, 3), (record,), fxbin.load_config(CONFIG), 1.0)


def test_without_optional_programs_the_rest_is_written_and_the_lack_is_said(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.train.outputs.shutil.which", lambda _name: None)
    monkeypatch.setattr(onnx_check, "find_spec", lambda name: None if name == "onnxruntime" else "found")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    notes = Notes()
    report = write_outputs(trained, tmp_path, notes)
    assert {path.name for path in tmp_path.iterdir()} == {"graph.dot", "report.json"}
    text = "\n".join(notes.lines)
    assert f"no {tmp_path / 'model.onnx'}: onnxruntime not installed: `pip install 'fxbin[onnx]'`" in text
    assert f"no {tmp_path / 'graph.svg'}: Graphviz's program `dot` is not installed" in text
    assert "curves need matplotlib" in text
    assert report["onnx"] is None
    assert report["openvino"] is None
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_the_check_runs_files_of_any_fixed_batch_and_counts_differences(
    trained: Trained, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from fxbin.export import export_onnx

    path = tmp_path / "net.onnx"
    images, labels = trained.data.samples()
    export_onnx(trained.model, path)  # batches of 2, for 5 images
    with torch.no_grad():
        logits = trained.model(images)
    same = check_onnx(path, images, labels, logits)
    assert (same.compared, same.differing_predictions) == (5, 0)
    assert same.largest_logit_difference < 1e-5
    changed = logits.clone()
    changed[4] = 0
    changed[4, (logits[4].argmax() + 1) % 3] = 100.0
    other = check_onnx(path, images, labels, changed)
    assert other.differing_predictions == 1
    assert other.largest_logit_difference > 90
    with pytest.raises(ExportError, match=r"gives outputs of shape \(5, 3\), PyTorch \(5, 2\)"):
        check_onnx(path, images, labels, logits[:, :2])


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide OpenVINO."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("fxbin.train.openvino_check.find_spec", lambda _name: None)


@pytest.mark.usefixtures("no_openvino")
def test_engine_is_compared_with_the_network_itself(trained: Trained, tmp_path: Path) -> None:
    notes = Notes()
    report = write_outputs(trained, tmp_path, notes)
    assert report["engine"]["binarized"] == report["engine"]["one_bit"] == 2
    assert report["engine"]["differing_predictions"] == 0
    assert report["engine"]["largest_logit_difference"] < 1e-5
    assert "ran the deployed network: 2 of 2 convolutions in 1 bit" in notes.lines


def test_without_the_engine_nothing_is_said_to_run_in_1_bit(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.train.engine_check.engine", lambda: None)
    with torch.no_grad():
        images, labels = trained.data.samples()
        logits = trained.model(images)
    checked = check_engine(trained.model, images, labels, logits)
    assert (checked.one_bit, checked.binarized) == (0, 2)


def test_network_that_cannot_be_deployed_is_noted(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_model: nn.Module) -> None:
        raise ExportError("model: Net has code that no graph can hold")

    monkeypatch.setattr("fxbin.train.engine_check.deploy", refuse)
    notes = Notes()
    report = write_outputs(trained, tmp_path, notes)
    assert report["engine"] is None
    assert "not run in the 1-bit engine: model: Net has code that no graph can hold" in notes.lines


@pytest.mark.usefixtures("no_openvino")
def test_without_openvino_the_demo_says_so(trained: Trained, tmp_path: Path) -> None:
    notes = Notes()
    report = write_outputs(trained, tmp_path, notes)
    assert report["onnx"] is not None
    assert report["openvino"] is None
    assert "the runtime with 1-bit kernels: openvino not installed: `pip install" in "\n".join(notes.lines)


def test_an_average_is_exported_beside_the_last_network(trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    averaged = replace(trained, average=copy.deepcopy(trained.model))
    assert averaged.average is not None
    with torch.no_grad():
        averaged.average.get_parameter("4.bias").copy_(torch.tensor([0.0, 0.0, 100.0]))
    notes = Notes()
    report = write_outputs(averaged, tmp_path, notes)
    assert (tmp_path / "model_ema.onnx").is_file()
    # The third class for every image: the labels are 0, 1, 2, 0, 1.
    assert report["ema"]["accuracy"] == report["ema"]["onnx"]["accuracy"] == 20.0
    assert report["ema"]["onnx"]["differing_predictions"] == 0
    (tmp_path / "plain").mkdir()
    assert "ema" not in write_outputs(trained, tmp_path / "plain", notes)
