"""`fxbin report`: the page of a run, of a config, and what it says when something is missing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin.cli import main
from fxbin.errors import ExportError
from fxbin.train import subject
from fxbin.train.checkpoint import load_checkpoint, save_checkpoint
from fxbin.train.data import ImageData
from fxbin.train.run import train

CONFIG = {
    "model": "resnet_thin",
    "epochs": 2,
    "batch_size": 20,
    "pretrain": {"epochs": 1},
    "input_info": {"sample_size": [1, 1, 12, 12]},
    "compression": {
        "algorithm": "binarization",
        "params": {
            "activations_quant_start_epoch": 0,
            "weights_quant_start_epoch": 1,
            "activation_scale_init": "mse",
        },
        "ignored_scopes": ["conv1"],
    },
}


@pytest.fixture(scope="module")
def pictures() -> ImageData:
    x, y = torch.randn(50, 1, 12, 12), torch.arange(50) % 10
    return ImageData("mnist", x[:40], y[:40], x[40:], y[40:], classes=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pictures: ImageData) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "open_data", lambda _config: pictures)
        train(CONFIG, folder)
    history = load_checkpoint(folder / "checkpoint.pt").history
    report = {"accuracy": {"final": 12.5}, "data": "mnist", "history": history}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, pictures: ImageData, tmp_path: Path) -> None:
    monkeypatch.setattr(subject, "open_data", lambda _config: pictures)
    monkeypatch.chdir(tmp_path)


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_report_of_a_run_has_everything(trained: Path) -> None:
    assert exit_code("report", trained, "--no-time") == 0
    html = (trained / "report.html").read_text(encoding="utf-8")
    assert "<h1>mine: ResNetThin</h1>" in html
    for said in ("12.50 %", "pretraining", "activations and weights", "layers.0.0.conv1", "<th scope"):
        assert said in html
    assert html.count('<figure class="histogram">') == 8
    assert "&quot;batch_size&quot;: 20" in html


def test_report_of_the_best_epoch(trained: Path) -> None:
    shutil.copytree(trained, "run")
    last = load_checkpoint(Path("run/checkpoint.pt"))
    kept = replace(last, history=[*last.history[:-1], last.history[-1] | {"test_accuracy": 33.25}])
    save_checkpoint(kept, Path("run/best.pt"))
    assert exit_code("report", "run", "--best", "--no-time", "--pictures", 0) == 0
    html = Path("run/report.html").read_text(encoding="utf-8")
    assert "<h1>run: ResNetThin, best epoch: 2</h1>" in html
    assert "33.25 %" in html
    assert "12.50 %" not in html  # that of the last epoch


def test_report_names_the_epoch_that_best_pt_holds(trained: Path, tmp_path: Path) -> None:
    best = load_checkpoint(trained / "best.pt").history
    html = run_page(trained)
    assert best[-1]["epoch"] + 1 == len(best) - 1  # one epoch is of the pretraining
    assert f'<li><i class="best"></i>best.pt <small>epoch {len(best) - 1}</small>' in html
    assert f"<span>best.pt, of epoch {len(best) - 1}</span><b>{best[-1]['test_accuracy']:.2f} %</b>" in html
    assert f'"best":{len(best) - 1}' in html.replace(" ", "")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    changed = load_checkpoint(trained / "best.pt")
    changed.history[-1]["seconds"] += 1.0
    save_checkpoint(changed, other / "best.pt")
    assert "The best epoch is not known: " in run_page(other)
    (other / "best.pt").unlink()
    assert "best.pt, of epoch" not in run_page(other)


def run_page(folder: Path) -> str:
    """The page about the run in `folder`, without times and pictures."""
    assert exit_code("report", folder, "--no-time", "--pictures", 0, "-o", "run.html") == 0
    return Path("run.html").read_text(encoding="utf-8")


def test_report_takes_the_times_of_a_file(trained: Path) -> None:
    bench = {
        "versions": {"engine": "2.13.0"}, "device": "mine", "threads": 1, "precision": "f32", "clock": "cpu",
        "shapes": [[1, 1, 12, 12]], "fired": None,
        "timings": [
            {"runtime": "engine", "name": "float32", "seconds": [0.002], "size": 9, "promised": 0,
             "one_bit": 0, "operators": {}, "median": 0.002, "speedup": 1.0},
        ],
    }  # fmt: skip
    Path("bench.json").write_text(json.dumps(bench))
    assert exit_code("report", trained, "--bench", "bench.json", "--pictures", 0, "-o", "new/page.html") == 0
    html = Path("new/page.html").read_text(encoding="utf-8")
    assert "PyTorch, float32" in html
    assert "on mine, input 1x1x12x12" in html
    assert '<figure class="histogram">' not in html


def test_report_of_a_config_is_about_the_untrained_network() -> None:
    Path("tiny.json5").write_text(json.dumps(CONFIG))
    assert exit_code("report", "tiny.json5", "--no-time") == 0
    html = Path("report.html").read_text(encoding="utf-8")
    assert "8 of 9 conv2d binarized" in html
    assert 'id="curves"' not in html


@pytest.mark.parametrize("limit", [7, 8])
def test_report_leaves_out_openvino_where_the_export_takes_minutes(
    limit: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def benchmark(_model: object, **options: Any) -> None:
        asked.append(options)
        raise ExportError("not here")

    monkeypatch.setattr("fxbin.runtimes.benchmark", benchmark)
    monkeypatch.setattr("fxbin.cli.report.EXPORTED_AT_MOST", limit)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "openvino")
    Path("tiny.json5").write_text(json.dumps(CONFIG))
    for option in ((), ("--time",)):
        assert exit_code("report", "tiny.json5", *option) == 0
    engine, both = {"runtimes": ["engine"], "int8": None}, {"runtimes": ["engine", "openvino"], "int8": False}
    assert [{**options, "rounds": None} for options in asked] == [
        {**(both if limit == 8 else engine), "rounds": None},
        {**both, "rounds": None},
    ]
    assert ("8 binarized convolutions takes minutes: --time" in capsys.readouterr().out) == (limit == 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["empty"], "the folder empty has no checkpoint.pt: expected the folder of a run"),
        (["{run}", "-o", "page.pdf"], "--output: expected a name that ends in .html, got 'page.pdf'"),
        (["{run}", "--input", "1,1,8,8"], "--input: '1,1,8,8': the run in"),
        (["{run}", "--bench", "none.json"], "--bench: none.json cannot be read"),
        (
            ["{run}", "--bench", "list.json"],
            "--bench: list.json cannot be read: not the report of a benchmark",
        ),
        (["{run}", "--ema"], "--ema: the checkpoint holds no average"),
        (["list.json", "--best"], "--best: 'list.json': expected the folder of a run"),
    ],
)
def test_report_says_what_is_wrong(
    arguments: list[str], said: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    Path("list.json").write_text("[]")
    before = sorted(trained.iterdir())
    assert exit_code("report", *(argument.format(run=trained) for argument in arguments)) == 2
    assert said in capsys.readouterr().err
    assert sorted(trained.iterdir()) == before
    assert not [*Path().glob("**/*.html")]


def test_report_notes_what_is_not_there(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fxbin.errors import DataError

    def missing(*_: Any) -> ImageData:
        raise DataError("data: 'mnist' cannot be read")

    shutil.copytree(trained, "unfinished")
    Path("unfinished/report.json").unlink()
    monkeypatch.setattr(subject, "open_data", missing)
    assert exit_code("report", "unfinished", "--no-time") == 0
    printed = capsys.readouterr().out
    html = Path("unfinished/report.html").read_text(encoding="utf-8")
    for note in ("No histograms of activations", "The run has not finished"):
        assert f"note: {note}" in printed
        assert note in html
