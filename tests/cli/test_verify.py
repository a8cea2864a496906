"""`fxbin verify`."""

from pathlib import Path

import pytest

from fxbin.engine.library import Engine
from tests.cli.commands import exit_code, write

# As for whoever types a command.
pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")


def test_a_file_in_standard_operators_is_written_and_not_verified(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    assert exit_code("export", config, "model.onnx", "--operators", "standard") == 0
    assert "0 1 bit, 6 float" in capsys.readouterr().out
    assert exit_code("verify", config, "model.onnx") == 2
    assert 'it was written with operators="standard" (fxbin export --operators' in capsys.readouterr().err
    assert exit_code("verify", config, "model.onnx", "--runtimes", "onnxruntime,openvino") == 0


def test_a_file_for_onnxruntime_is_written_and_compared(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    assert exit_code("export", config, "model.onnx", "--operators", "fxbin") == 0
    assert "6 1 bit, 0 float" in capsys.readouterr().out
    assert exit_code("verify", config, "model.onnx", "--runtimes", "onnxruntime") == 0
    assert exit_code("verify", config, "model.onnx") == 2
    assert 'it was written with operators="fxbin"' in capsys.readouterr().err


def test_verify_prints_what_openvino_does_and_refuses_what_is_off(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    assert exit_code("export", config, "model.onnx") == 0
    assert exit_code("verify", config, "model.onnx") == 0
    assert "convolutions in 1 bit: 6, promised: 6" in capsys.readouterr().out
    other = write(tmp_path / "other.json5", compression={"algorithm": "binarization"})
    assert exit_code("verify", other, "model.onnx") == 2
    assert "9 convolutions were promised in 1 bit, OpenVINO runs 6 in 1 bit." in capsys.readouterr().err


def test_verify_compares_runtimes_layer_by_layer(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    assert exit_code("export", config, "model.onnx") == 0
    assert exit_code("verify", config, "model.onnx", "--runtimes", "onnxruntime, openvino") == 0
    assert capsys.readouterr().out.count("layers: 6 of 6 right") == 2
    other = write(Path("other.json5"), compression={"algorithm": "binarization"})
    assert exit_code("verify", other, "model.onnx", "--runtimes", "onnxruntime") == 2
    assert "Not all runtimes compute what PyTorch eager does." in capsys.readouterr().err
    assert exit_code("verify", config, "--runtimes", "tensorrt") == 2
    known = "compiled, engine, onnxruntime, openvino"
    assert f"expected a list of some of {known}, got 'tensorrt'" in capsys.readouterr().err


def test_verify_compares_what_deploy_makes(
    built: Engine, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("verify", config, "--runtimes", "engine") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("engine beside PyTorch eager\n")
    assert "layers: 6 of 6 right" in shown


def test_verify_says_that_only_1_bit_is_missing(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.engine.operators.engine", lambda: None)
    monkeypatch.setattr("fxbin.runtimes.comparison.engine", lambda: None)
    assert exit_code("verify", config, "--runtimes", "engine") == 2
    found = capsys.readouterr().err
    assert "All runtimes compute what PyTorch eager does, but not all of it in 1 bit as promised." in found
