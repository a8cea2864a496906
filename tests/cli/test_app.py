import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin.cli import main
from fxbin.engine.library import Engine
from fxbin.errors import ConfigError
from fxbin.train import outputs, run
from fxbin.train.data import ImageData
from fxbin.train.progress import ConsoleProgress

# As for whoever types a command.
pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")

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


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    x, y = torch.randn(50, 1, 12, 12), torch.arange(50) % 10
    images = ImageData("mnist", x[:40], y[:40], x[40:], y[40:], classes=10)
    monkeypatch.setattr(run, "open_data", lambda _config: images)
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "tiny.json5")


@pytest.fixture
def no_files_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training writes its checkpoint and its report alone. The rest takes longer than the training."""
    for name in ("write_onnx", "write_graph", "write_curves"):
        monkeypatch.setattr(outputs, name, lambda *_: None)


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


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


def test_scopes_lists_conv2d_call_sites_with_the_reason_of_each_ignored_one(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("scopes", config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[0].split("    ") == [
        "ResNetThin/NNCFConv2d[conv1]/conv2d_0",
        "conv2d",
        "1x16x12x12",
        "full precision: in ignored_scopes",
    ]
    block = "ResNetThin/Sequential[layers]/Sequential[0]/BasicBlock[0]"
    assert lines[1].startswith(f"{block}/NNCFConv2d[conv1]/conv2d_0    conv2d    ")
    assert lines[1].endswith("    binarized")


@pytest.mark.filterwarnings("default")
def test_scopes_helps_to_correct_a_scope_that_matches_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, ignored_scopes=["ResNetThin/NNCFConv2d[conv7]/conv2d_0"])
    assert exit_code("graph", config, "-o", "graph.dot") == 2
    assert "Error: ignored_scopes: 'ResNetThin/NNCFConv2d[conv7]/conv2d_0'" in capsys.readouterr().err
    assert exit_code("scopes", config) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 9
    assert shown.err.startswith("Warning: ignored_scopes: 'ResNetThin/NNCFConv2d[conv7]/conv2d_0'")


def test_scopes_of_a_model_by_name_can_show_every_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", "resnet_thin", "--all", "--input", "1x1x16x16") == 0
    lines = [line.split("    ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "ResNetThin/NNCFLinear[fc]/linear_0" in lines
    assert "ResNetThin/MaxPool2d[maxpool]/max_pool2d_0" in lines


def test_scopes_shows_what_a_pattern_selects(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", config, "--match", r"{re}NNCF\w+\[conv1\]/") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("NNCFConv2d[conv1]/conv2d_0    conv2d" in line for line in lines)
    assert exit_code("scopes", config, "--match", "conv1") == 2
    assert "Error: --match: 'conv1' matches no node" in capsys.readouterr().err


def test_scopes_of_a_model_with_a_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", "resnet_thin", "--config", config) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9
    assert exit_code("scopes", config, "--config", config) == 2
    assert "is a config itself" in capsys.readouterr().err


def test_check_lists_all_problems(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("check", config) == 0
    assert "note: 6 of 9 conv2d are binarized" in capsys.readouterr().out
    write(config, ignored_scopes=["foo", "bar"])
    assert exit_code("check", config) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop().startswith("note: params.activation_scale_init: not given")
    assert [line.split(" matches")[0] for line in lines] == [
        "error: ignored_scopes: 'foo'",
        "error: ignored_scopes: 'bar'",
    ]
    write(config, epoch=1, batch_size="2")
    assert exit_code("check", config) == 2
    assert [line.split(": ")[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["error", "batch_size"],
        ["error", "epoch"],
    ]


def test_graph_writes_dot_source(config: Path, tmp_path: Path) -> None:
    assert exit_code("graph", config, "-o", tmp_path / "new" / "net.dot") == 0
    assert (tmp_path / "new" / "net.dot").read_text().startswith(("digraph", "//"))


def test_graph_refuses_a_format_it_does_not_know(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("graph", config, "-o", "new/net.docx") == 2
    assert "net.docx: expected a name that ends in .dot" in capsys.readouterr().err
    assert not Path("new").exists()


def test_graph_prints_what_a_pass_leaves(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("graph", config, "--after", "inline-conv2d", "-o", "net.dot") == 0
    printed = capsys.readouterr().out
    assert "target=torch.conv2d" in printed
    assert "binarizer" not in printed
    assert not Path("net.dot").exists()
    assert exit_code("graph", config, "--after", "insert-weight-binarizers") == 0
    printed = capsys.readouterr().out
    assert "weight_binarizer" in printed
    assert "activation_binarizer" not in printed
    assert exit_code("graph", config, "--after", "fold") == 2
    expected = (
        "--after: expected the name of a pass, name-nodes, mark-call-sites, inline-conv2d, insert-weight"
    )
    assert expected in capsys.readouterr().err.replace("\n", " ")


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


def test_bench_times_the_forms_in_turns(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    options = ("--runtimes", "openvino", "--rounds", 2, "--no-int8")
    assert exit_code("bench", config, *options, "--output", "new/bench.json") == 0
    shown = capsys.readouterr().out
    assert "median CPU time of 6 runs, taken in turns; 1 thread(s), hint f32" in shown
    assert "6 of 6" in shown
    found = json.loads(Path("new/bench.json").read_text())
    assert [timing["name"] for timing in found["timings"]] == ["float32", "1 bit"]
    assert all(len(timing["seconds"]) == 6 for timing in found["timings"])


def test_verify_says_that_only_1_bit_is_missing(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.engine.operators.engine", lambda: None)
    monkeypatch.setattr("fxbin.runtimes.comparison.engine", lambda: None)
    assert exit_code("verify", config, "--runtimes", "engine") == 2
    found = capsys.readouterr().err
    assert "All runtimes compute what PyTorch eager does, but not all of it in 1 bit as promised." in found


def test_bench_times_the_engine(built: Engine, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("bench", config, "--runtimes", "engine", "--rounds", 1) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"PyTorch {torch.__version__} on ")
    assert "| PyTorch, float32 |" in shown
    assert "| PyTorch, 1 bit   |" in shown
    assert exit_code("bench", config, "--runtimes", "engine", "--precision", "bf16") == 2
    assert "precision: got 'bf16', an option of OpenVINO" in capsys.readouterr().err
    assert exit_code("bench", config, "--runtimes", "tvm") == 2
    assert "expected a list of some of engine, onnxruntime, openvino, got 'tvm'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.json5"], "none.json5: no such file"),
        (["export", "none.pt", "out.onnx"], "checkpoint none.pt does not exist"),
        (
            ["export", "none.pt", "new/out.pt"],
            "OUT: 'new/out.pt': expected a name that ends in .onnx or .pt2",
        ),
        (
            ["export", "none.pt", "out.pt2", "--weights", "float"],
            "--weights: got float, but a .pt2 file has no ONNX operators",
        ),
        (["export", "resnet_thin", "out.onnx", "--ema"], "--ema: resnet_thin is not a checkpoint, expected"),
        (
            ["bench", "none.pt", "-o", "."],
            "--output: '.' is a folder; give the name of a file, such as model.json",
        ),
        (
            ["bench", "none.pt", "-o", "new/times"],
            "--output: 'new/times': expected a name that ends in .json",
        ),
        (["scopes", "resnet_thim"], "closest: resnet_thin"),
        (["scopes", "resnet_thin", "--input", "1,two"], "--input: '1,two' is not a shape"),
        (["scopes", "tiny.json5", "--input", "1,1"], "a config has its own input_info"),
    ],
)
def test_a_mistake_is_one_paragraph_and_exit_code_2(
    config: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "resnet_thim" in arguments:
        pytest.importorskip("torchvision")
    assert exit_code(*arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.startswith("Error: ")
    assert "Traceback" not in shown
    assert not Path("new").exists()


def test_traceback_lets_the_error_through(config: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        main(["train", "none.json5", "--traceback"])


@pytest.mark.parametrize("command", ["train", "check", "scopes", "graph", "export"])
def test_each_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"fxbin {command}" in " ".join(shown.split())


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fxbin", "--help"], capture_output=True, text=True, check=True
    )
    assert "train" in done.stdout
