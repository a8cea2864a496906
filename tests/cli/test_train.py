"""`fxbin train`."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from fxbin.engine.library import Engine
from fxbin.train.progress import ConsoleProgress
from tests.cli.commands import exit_code

# As for whoever types a command.
pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")


def test_train_writes_everything_and_prints_the_accuracies(
    built: Engine, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    assert exit_code("train", config) == 0
    folder = tmp_path / "runs" / "tiny"
    written = {path.name for path in folder.iterdir()}
    assert {"checkpoint.pt", "curves.svg", "graph.dot", "model.onnx", "report.json"} <= written
    shown = capsys.readouterr().out
    for text in ("full precision, before the stages", "after stage: activations", "final, onnxruntime"):
        assert text in shown
    assert "PyTorch and onnxruntime: 0 of 10 predictions differ, largest logit difference" in shown
    report = json.loads((folder / "report.json").read_text())
    if find_spec("openvino"):
        assert "PyTorch and OpenVINO: 0 of 10 predictions differ, largest logit difference" in shown
        assert "runs 6 of 6 binarized convolutions in 1 bit, each with PyTorch's numbers" in shown
        assert (report["openvino"]["one_bit"], report["openvino"]["differing_predictions"]) == (6, 0)
    assert list(report["accuracy"]["after_stage"]) == [
        "full precision",
        "activations",
        "activations and weights",
    ]
    assert "PyTorch and 1-bit engine: 0 of 10 predictions differ, largest logit difference" in shown
    assert (report["engine"]["one_bit"], report["engine"]["binarized"]) == (6, 6)
    assert report["engine"]["largest_logit_difference"] <= 1e-4
    assert report["accuracy"]["final"] == report["accuracy"]["onnxruntime"] == report["engine"]["accuracy"]
    assert report["onnx"]["largest_logit_difference"] <= 1e-4
    assert sum(site["binarized"] for site in report["network"]["sites"]) == 6
    assert report["versions"]["torch"]


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_done, seen = ConsoleProgress.batch_done, []

    def interrupted(self: ConsoleProgress, *numbers: float) -> None:
        seen.append(numbers)
        if len(seen) == 4:
            raise KeyboardInterrupt
        batch_done(self, *numbers)

    monkeypatch.setattr(ConsoleProgress, "batch_done", interrupted)
    assert exit_code("train", config) == 130
    assert "run the same command again to continue" in capsys.readouterr().out
    assert exit_code("train", config) == 0
    assert "after pretraining epoch 1" in capsys.readouterr().out


@pytest.mark.usefixtures("no_files_at_the_end")
def test_a_name_of_data_on_the_command_line_wins(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", config, "--restart", "--data", "fashion-mnist", "-o", "out") == 0
    assert json.loads(Path("out/report.json").read_text())["data"] == "mnist"  # what the fixture loads
    assert exit_code("train", config, "-o", "out") == 2
    assert "data: the run in out was started with 'fashion-mnist'" in capsys.readouterr().err
