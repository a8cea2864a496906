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
from fxbin.train.progress import TrainingProgress
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
    # Each share of firing says what it is of.
    for said in (
        "firing and flips in training, %",
        "that were high in training",
        "gets for 10 held-out pictures",
    ):
        assert said in html
    assert "&quot;batch_size&quot;: 20" in html


def test_report_of_the_best_epoch(trained: Path) -> None:
    shutil.copytree(trained, "run")
    last = load_checkpoint(Path("run/checkpoint.pt"))
    keep_best(Path("run"), [*last.history[:-2], last.history[-2] | {"test_accuracy": 33.25}])
    report = json.loads(Path("run/report.json").read_text()) | {
        "onnx": {"accuracy": 12.25},
        "engine": {"accuracy": 12.75},
    }
    Path("run/report.json").write_text(json.dumps(report))
    html = best_page(Path("run"))
    assert "<h1>run: ResNetThin, best epoch: 1</h1>" in html
    assert "33.25 %" in html
    for of_last_epoch in ("12.50 %", "12.25 %", "12.75 %"):
        assert of_last_epoch not in html
    assert (
        "Left out are the accuracies in onnxruntime, the deployed network: report.json has those of the last "
        "epoch only." in html
    )


def test_best_that_is_the_last_epoch_has_the_accuracies_of_report_json(trained: Path) -> None:
    shutil.copytree(trained, "run")
    keep_best(Path("run"), load_checkpoint(Path("run/checkpoint.pt")).history)
    html = best_page(Path("run"))
    assert "12.50 %" in html
    assert "Left out" not in html


def keep_best(folder: Path, history: list[dict[str, Any]]) -> None:
    """Let `best.pt` of the run in `folder` be the last checkpoint, with `history`."""
    last = load_checkpoint(folder / "checkpoint.pt")
    (folder / "best.pt").unlink()  # which may be another name of checkpoint.pt
    save_checkpoint(replace(last, history=history, epoch=history[-1]["epoch"]), folder / "best.pt")


def best_page(folder: Path) -> str:
    """The page about the best epoch of the run in `folder`, without times and pictures."""
    assert exit_code("report", folder, "--best", "--no-time", "--pictures", 0, "-o", "best.html") == 0
    return Path("best.html").read_text(encoding="utf-8")


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

    unfinished(trained)
    monkeypatch.setattr(subject, "open_data", missing)
    assert exit_code("report", "unfinished", "--no-time") == 0
    printed = capsys.readouterr().out
    html = Path("unfinished/report.html").read_text(encoding="utf-8")
    for note in ("No histograms of activations", "The run has not finished"):
        assert f"note: {note}" in printed
        assert note in html


def test_finished_run_without_report_json_is_not_called_unfinished(trained: Path) -> None:
    shutil.copytree(trained, "run")
    Path("run/report.json").unlink()
    for html in (run_page(Path("run")), best_page(Path("run"))):
        assert "The accuracies in other runtimes are not known. There is no report.json beside " in html
        assert "not finished" not in html
    last = load_checkpoint(Path("run/checkpoint.pt"))
    stopped = [*last.history[:-2], last.history[-2] | {"stopped_early": True}]
    with_histories(Path("run"), 2, epoch=0)
    assert "The run has not finished" in run_page(Path("run"))
    save_checkpoint(replace(last, history=stopped, epoch=0), Path("run/checkpoint.pt"))
    assert "not finished" not in run_page(Path("run"))


def test_best_epoch_of_an_unfinished_run_is_not_called_its_last(trained: Path) -> None:
    folder = unfinished(trained)
    html = best_page(folder)
    assert "The run has not finished: the best of its epochs so far is shown. There is no report.json" in html
    assert "last checkpoint" not in html
    assert "The run has not finished: its last checkpoint is shown." in run_page(folder)
    assert run_page(folder / "best.pt") == html
    (folder / "checkpoint.pt").unlink()
    assert "The accuracies in other runtimes are not known. There is no" in run_page(folder / "best.pt")


def unfinished(trained: Path) -> Path:
    """A folder with the run `trained` as it was after the first of its two epochs in stages."""
    folder = Path("unfinished")
    shutil.copytree(trained, folder)
    (folder / "report.json").unlink()
    with_histories(folder, 2, epoch=0)
    keep_best(folder, load_checkpoint(folder / "checkpoint.pt").history)
    return folder


def with_histories(folder: Path, epochs: int, **changes: Any) -> None:
    """Let the checkpoint in `folder` have its first `epochs` epochs, with `changes`."""
    last = load_checkpoint(folder / "checkpoint.pt")
    (folder / "checkpoint.pt").unlink()  # which may be another name of best.pt
    save_checkpoint(replace(last, history=last.history[:epochs], **changes), folder / "checkpoint.pt")


@pytest.mark.parametrize("change", ["started over", "went on", "within an epoch", "no history"])
def test_accuracies_of_another_training_are_left_out(
    change: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("run")
    shutil.copytree(trained, folder)
    report = json.loads((folder / "report.json").read_text())
    if change == "started over":
        report["history"][0]["seconds"] += 1
    elif change == "went on":
        report["history"].pop()
    elif change == "no history":
        del report["history"]
    else:
        with_histories(folder, 3, position={"batches": 1})
    (folder / "report.json").write_text(json.dumps(report))
    html = run_page(folder)
    assert "12.50 %" not in html
    start = "The accuracies in other runtimes are not known."
    if change == "within an epoch":
        start = "The run has not finished: its last checkpoint is shown."
    note = f"{start} report.json is left out, as it is of another training than the checkpoint, or of other"
    assert note in html
    assert f"note: {note}" in capsys.readouterr().out
    if change == "within an epoch":
        assert "The checkpoint was written within epoch 3 of the phase" in html
    else:
        accuracy = load_checkpoint(folder / "checkpoint.pt").history[-1]["test_accuracy"]
        assert f"<span>held-out accuracy</span><b>{accuracy:.2f} %</b>" in html


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"accuracy": 5, "history": 3}',
            "report.json: accuracy: expected an object, got 5. Run `fxbin train`",
        ),
        ('{"history": 3}', "report.json: history: expected a list of epochs, got 3"),
        ('{"training_seconds": "a"}', "report.json: training_seconds: expected a number, got 'a'"),
        ("[]", "report.json: expected the report of a run, got a list"),
        ('{"accuracy', "report.json cannot be read: "),
    ],
)
def test_a_damaged_report_of_a_run_is_an_error_that_names_the_entry(
    text: str, said: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, "run")
    Path("run/report.json").write_text(text)
    assert exit_code("report", "run", "--no-time", "--pictures", 0) == 2
    assert said in capsys.readouterr().err


def test_best_shows_the_firing_and_flips_of_its_epoch(trained: Path) -> None:
    folder = Path("run")
    shutil.copytree(trained, folder)
    last = load_checkpoint(folder / "checkpoint.pt")
    keep_best(folder, last.history[:2])
    html = best_page(folder)
    assert "<h1>run: ResNetThin, best epoch: 1</h1>" in html
    assert "Fires and flips are those of epoch 1:" in html
    assert "best.pt <small>epoch 1</small>" in html
    own, others = (fires(last.history[position]) for position in (1, 2))
    assert own != others
    assert [share for share in own if share not in html] == []
    assert "Fires and flips are those of epoch 2:" in run_page(folder)


def fires(record: dict[str, Any]) -> list[str]:
    """The cells of the layer table about firing in an epoch."""
    shares = [site["fired"] for site in record["diagnostics"]["sites"]]
    return [f'data-v="{share}"' for share in shares]


@pytest.mark.parametrize("rewrites", [[], ["rprelu"]])
def test_a_run_in_its_pretraining_has_a_page(
    rewrites: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compression = {**CONFIG["compression"], "rewrites": rewrites}  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG | {"compression": compression}, Path("early"), progress=StoppedInStages())
    assert exit_code("report", "early", "--no-time") == 0
    html = Path("early/report.html").read_text(encoding="utf-8")
    for said in (
        "8 of 9 conv2d binarized, stage: pretraining",
        '<section id="curves">',
        "held-out accuracy",
        "The run is in its pretraining, in full precision: layers are shown as they will be binarized.",
        "No histograms of activations: the stages set the thresholds, and have not begun.",
        "The run has not finished: its last checkpoint is shown. There is no report.json beside",
    ):
        assert said in html
    assert "Fires and flips" not in html
    for command in (("eval", "early"), ("export", "early", "a.onnx")):
        assert exit_code(*command) == 2
        assert "there is no binarized network in it yet" in capsys.readouterr().err


class StoppedInStages(TrainingProgress):
    """Ctrl-C when the pretraining is over."""

    def epoch_started(self, stage: str, epoch: int, epochs: int, batches: int) -> None:
        if stage != "pretraining":
            raise KeyboardInterrupt


def test_a_checkpoint_has_the_page_of_its_epoch(trained: Path, tmp_path: Path) -> None:
    assert exit_code("report", trained / "checkpoint.pt", "--no-time", "--pictures", 5, "-o", "a.html") == 0
    html = Path("a.html").read_text(encoding="utf-8")
    for said in ("<h1>mine: ResNetThin, epoch 2</h1>", '<section id="curves">', "12.50 %", "Fires and flips"):
        assert said in html
    assert html.count('<figure class="histogram">') == 8
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(trained / "checkpoint.pt", alone / "kept.pt")
    html = run_page(alone / "kept.pt")
    assert "runtimes are not known. There is no report.json beside kept.pt." in html
    assert '<section id="curves">' in html
    best = run_page(trained / "best.pt")
    number = load_checkpoint(trained / "best.pt").history[-1]["epoch"] + 1
    assert f"<h1>mine: ResNetThin, best epoch: {number}</h1>" in best
    assert best == best_page(trained)


def test_pictures_without_a_run_are_an_error(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.json5").write_text(json.dumps(CONFIG))
    torch.save(load_checkpoint(trained / "checkpoint.pt").model, "own.pt")
    for wrong in ("-1", "x"):
        assert exit_code("report", trained, "--pictures", wrong) == 2
        assert f"got '{wrong}', expected a whole number from 0 on." in plain(capsys.readouterr().err)
    for source in (("tiny.json5",), ("own.pt", "--config", "tiny.json5")):
        assert exit_code("report", *source, "--no-time", "--pictures", 5) == 2
        assert (
            f"--pictures: 5: histograms are over the held-out pictures of a run, and {source[0]} is none"
            in (capsys.readouterr().err)
        )
    assert exit_code("report", "own.pt", "--config", "tiny.json5", "--no-time", "--pictures", 0) == 0
    note = "A state_dict holds weights alone: there are no curves, no accuracies and no histograms."
    assert note in Path("report.html").read_text(encoding="utf-8")


def plain(shown: str) -> str:
    """The text in the box that typer draws around an error, on one line."""
    return " ".join(shown.replace("\u2502", " ").split())


def bench(**changes: Any) -> str:
    """What `fxbin bench --output` writes about the network of this page, with `changes`."""
    timing = {
        "runtime": "engine", "name": "float32", "seconds": [0.002], "size": 9, "promised": 0, "one_bit": 0,
        "operators": {}, "median": 0.002, "speedup": 1.0,
    }  # fmt: skip
    report = {
        "versions": {"engine": "2.13.0"}, "device": "mine", "threads": 1, "precision": "f32", "clock": "cpu",
        "shapes": [[1, 1, 12, 12]], "fired": None, "timings": [timing | changes.pop("timing", {})],
        "model": "ResNetThin", "binarized": 8,
    }  # fmt: skip
    return json.dumps(report | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"binarized": 26}, "are of ResNetThin with 26 binarized convolutions and inputs of 1x1x12x12"),
        ({"shapes": [[1, 3, 64, 64]]}, "with 8 binarized convolutions and inputs of 1x3x64x64, and this is "),
        ({"model": "SqueezeNet"}, "the times are those of another network: they are of SqueezeNet with 8"),
        ({"timing": {"seconds": [-1, float("nan")]}}, "timings[0].seconds: expected finite numbers above 0"),
    ],
)
def test_times_of_another_network_are_refused_before_the_work(
    changes: dict[str, Any],
    said: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fxbin.train.run_report.run_content", None)
    Path("bench.json").write_text(bench(**changes))
    assert exit_code("report", trained, "--bench", "bench.json", "-o", "page.html") == 2
    shown = capsys.readouterr().err
    assert "--bench: bench.json: " in shown
    assert said in shown
    assert not Path("page.html").exists()


def test_times_are_either_taken_or_read(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bench.json").write_text(bench())
    assert exit_code("report", trained, "--bench", "bench.json", "--time") == 2
    assert (
        "--time: the times are those of --bench bench.json: leave one option out." in capsys.readouterr().err
    )
    options = ("--bench", "bench.json", "--no-time", "--pictures", 0)
    assert exit_code("report", trained, *options, "-o", "page.html") == 0
    assert "PyTorch, float32" in Path("page.html").read_text(encoding="utf-8")


def test_an_output_that_cannot_be_written_is_found_before_the_work(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("folder.html", "folder.svg", "folder.json"):
        Path(name).mkdir()
    Path("file").touch()
    Path("tiny.json5").write_text(json.dumps(CONFIG))
    for place in (
        "fxbin.train.run_report.read_run",
        "fxbin.cli.bench.network_from",
        "fxbin.cli.export.network_from",
    ):
        monkeypatch.setattr(place, None)
    monkeypatch.setattr("fxbin.cli.graph.config_for", None)
    for command, option in (
        (("report", trained, "-o", "folder.html"), "--output: 'folder.html' is a folder"),
        (("report", trained, "-o", "file/page.html"), "--output: 'file/page.html' cannot be written: "),
        (("graph", "tiny.json5", "-o", "folder.svg"), "--output: 'folder.svg' is a folder"),
        (("graph", "tiny.json5", "-o", "file/a.dot"), "--output: 'file/a.dot' cannot be written: "),
        (("bench", "tiny.json5", "-o", "file/a.json"), "--output: 'file/a.json' cannot be written: "),
        (("export", "tiny.json5", "file/a.onnx"), "OUT: 'file/a.onnx' cannot be written: "),
        (("train", "tiny.json5", "--plan-picture", "file/a.svg"), "--plan-picture: 'file/a.svg' cannot be"),
        (
            ("train", "tiny.json5", "--plan-picture", "plan.xyz"),
            "--plan-picture: 'plan.xyz': expected a name",
        ),
    ):
        assert exit_code(*command) == 2
        assert option in capsys.readouterr().err
