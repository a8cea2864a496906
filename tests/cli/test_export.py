"""`fxbin export`."""

from pathlib import Path

import pytest
import torch

from fxbin.engine.library import Engine
from tests.cli.commands import exit_code, write

# As for whoever types a command.
pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")


@pytest.mark.usefixtures("no_files_at_the_end")
def test_export_takes_a_config_or_a_checkpoint(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    assert exit_code("export", config, "untrained.onnx") == 0
    assert "untrained.onnx (" in capsys.readouterr().out
    exit_code("train", config)
    assert exit_code("export", "runs/tiny/checkpoint.pt", "new/trained.onnx") == 0
    assert Path("new/trained.onnx").is_file()


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.9, when it loads
@pytest.mark.usefixtures("no_files_at_the_end")
def test_the_average_of_a_run_is_shown_and_exported(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    assert exit_code("train", write(tmp_path / "averaged.json5", ema={"decay": 0.9}), "-o", "run") == 0
    shown = capsys.readouterr().out
    assert "an average of the parameters is kept in each stage, with decay 0.9" in shown
    assert "final, averaged parameters" in shown
    for option in ([], ["--ema"]):
        assert exit_code("export", "run/checkpoint.pt", f"model{len(option)}.onnx", *option) == 0
    assert Path("model0.onnx").read_bytes() != Path("model1.onnx").read_bytes()


# torch 2.9 itself reads programs so.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_export_writes_a_program_for_pytorch(
    built: Engine, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("export", config, "new/model.pt2", "--dynamic-batch") == 0
    assert "6 of 6 binarized convolutions in 1 bit" in capsys.readouterr().out
    loaded = torch.export.load("new/model.pt2").module()
    assert loaded(torch.randn(3, 1, 12, 12)).shape[0] == 3


def test_export_says_that_a_network_is_untrained(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    assert exit_code("export", config, "untrained.onnx") == 0
    assert "Warning: 6 of 6 activation scales have never seen a training" in capsys.readouterr().err


def test_export_has_the_options_of_the_function(config: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert exit_code("export", config, "m.onnx", "--opset", 20, "--dynamic-batch", "--weights", "float") == 0
    model = onnx.load("m.onnx")
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 20
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not any(node.op_type == "Gather" for node in model.graph.node)
