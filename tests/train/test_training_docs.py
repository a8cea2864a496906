"""docs/training.md and docs/fxbin_train.md: their configs, files and commands, on small pictures."""

import contextlib
import csv
import io
import json
import signal
from pathlib import Path

import json5
import pytest

from fxbin.config import load_config
from fxbin.engine.build import chosen_folder
from fxbin.staged.schedule import stage_at
from fxbin.train import outputs
from fxbin.train.data import picture_data, sequence_data, stream_data
from tests.folders import write_folder
from tests.train.page import DOCS, STAGES, blocks, commands, killed, run, sections, shortened

TUTORIAL = sections("training.md")
FOLDERS = (
    "Pictures in folders",
    "Check",
    "Train",
    "Stop and resume",
    "Read the curves",
    "Evaluate and predict",
    "Export and verify",
)
OWN_DATA = "A data set in Python, and a timm model"
SHARDS = "Shards, and several processes"
SAMPLE = "If you have no pictures at hand"
IMAGENET = "ImageNet"  # tests/train/test_imagenet_configs.py

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the pictures and the config of the page."""
    write_folder(tmp_path / "flowers", pictures=6, size=(80, 70))
    for name, own in zip(("daisy", "rose", "tulip"), range(3), strict=True):
        (tmp_path / "flowers" / f"class_{own}").rename(tmp_path / "flowers" / name)
    (config,) = blocks(TUTORIAL["Pictures in folders"], "json5")
    (tmp_path / "flowers.json5").write_text(config)
    monkeypatch.chdir(tmp_path)
    # Other tests have left threads in this process, so it must not fork: pictures are read without workers.
    for data in (picture_data, sequence_data, stream_data):
        monkeypatch.setattr(data, "worker_count", lambda _asked: 0)
    # The engine stays where it is, as building it takes longer than a training.
    monkeypatch.setenv("FXBIN_CACHE_DIR", str(chosen_folder() or tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent))
    return tmp_path


def went_through_all_stages(output: Path) -> None:
    with (output / "metrics.csv").open(newline="") as file:
        assert [row["stage"] for row in csv.DictReader(file)] == STAGES


def test_every_command_of_the_page_is_run() -> None:
    with_commands = {name for name, text in TUTORIAL.items() if commands(text)}
    assert with_commands <= {*FOLDERS, OWN_DATA, SHARDS, IMAGENET, SAMPLE}
    assert len(with_commands) == 10


def test_pictures_in_folders_from_the_config_to_the_verified_files(flowers: Path, capsys: Captured) -> None:
    check, scopes, plan = commands(TUTORIAL["Check"])
    assert run(check, capsys) == blocks(TUTORIAL["Check"], "text")[0]
    assert run(scopes, capsys).count("  binarized") == 16
    assert "learning rate falls" in run(plan, capsys)

    (train,), (again,) = commands(TUTORIAL["Train"]), commands(TUTORIAL["Stop and resume"])
    killed(shortened(train), after="full precision  ")
    resumed = run(shortened(again), capsys)
    assert "resuming runs/flowers/checkpoint.pt after" in resumed
    assert "16 of 16 binarized convolutions in 1 bit" in resumed
    went_through_all_stages(flowers / "runs" / "flowers")

    (report,) = commands(TUTORIAL["Read the curves"])
    run([*report, "--no-time"], capsys)
    assert (flowers / "runs" / "flowers" / "report.html").exists()
    evaluates_and_predicts(flowers, capsys)

    to_onnx, verify, to_program, verify_program = commands(TUTORIAL["Export and verify"])
    run(to_onnx, capsys)
    assert "16 of 16 in 1 bit and right" in run(verify, capsys)
    run(to_program, capsys)
    assert "| right |" in run(verify_program, capsys)


def evaluates_and_predicts(place: Path, capsys: Captured) -> None:
    from PIL import Image

    write_folder(place / "new", classes=2, pictures=2, size=(80, 70))
    (place / "new" / "class_0").rename(place / "new" / "tulip")
    (place / "new" / "class_1").rename(place / "new" / "daisy")
    Image.new("RGB", (100, 80)).save(place / "photo.jpg")
    per_class, other, predict, predict_onnx = commands(TUTORIAL["Evaluate and predict"])
    assert all(name in run(per_class, capsys) for name in ("daisy", "rose", "tulip"))
    assert "of 4" in run(other, capsys)
    predicted = run(predict, capsys)
    assert predicted.count("\n") == 1 + 6
    assert "photo.jpg: " in predicted
    assert "photo.jpg," in run(predict_onnx, capsys)


def test_a_data_set_in_python_trains_a_timm_model(
    flowers: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    (code,), (config,) = (blocks(TUTORIAL[OWN_DATA], language) for language in ("python", "json5"))
    (flowers / "own_data.py").write_text(code)
    (flowers / "mobilenet.json5").write_text(config)
    rows = [("file", "class", "part")]
    for index, file in enumerate(sorted(flowers.glob("flowers/*/*.png"))):
        part = "held out" if index % 4 == 0 else "train"
        rows.append((str(file.relative_to(flowers)), file.parent.name, part))
    with (flowers / "pictures.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)

    check, train, export, verify, verify_engine = commands(TUTORIAL[OWN_DATA])
    assert "33 of 53 conv2d are binarized" in run(check, capsys)
    killed(shortened(train), after="full precision  ")
    monkeypatch.setattr(outputs, "write_onnx", lambda *_: None)  # the next commands do the same
    assert "resuming runs/mobilenet/checkpoint.pt after" in run(shortened(train), capsys)
    went_through_all_stages(flowers / "runs" / "mobilenet")
    run(export, capsys)
    run(verify, capsys)
    assert "33 of 33 right" in run(verify_engine, capsys)


def test_two_processes_train_from_shards(flowers: Path, capsys: Captured) -> None:
    pytest.importorskip("webdataset")
    (code,) = blocks(TUTORIAL[SHARDS], "python")
    (flowers / "make_shards.py").write_text(code)
    write, train, export, verify = commands(TUTORIAL[SHARDS])
    run(write, capsys)
    assert [file.name for file in sorted(flowers.glob("shards/*"))] == ["train-00000.tar", "val-00000.tar"]
    killed(shortened(train), after="pretraining  ", with_signal=signal.SIGTERM)
    assert "resuming runs/shards/checkpoint.pt after" in run(shortened(train), capsys)
    went_through_all_stages(flowers / "runs" / "shards")
    report = json.loads((flowers / "runs" / "shards" / "report.json").read_text())
    assert report["data"].startswith("wds:")
    run(export, capsys)
    assert "16 of 16 in 1 bit and right" in run(verify, capsys)


def test_a_sample_of_drawings_is_what_the_page_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    drawings = write_folder(tmp_path / "png", classes=3, pictures=26)
    inner = drawings / "class_0" / "inner"
    inner.mkdir()
    for number in range(10):  # Debian has some drawings twice, by links
        (drawings / "class_0" / f"{number:03}.png").rename(inner / f"{number:03}.png")
        (drawings / "class_0" / f"link_{number}.png").symlink_to(inner / f"{number:03}.png")
    for file in sorted((drawings / "class_2").iterdir())[9:]:
        file.unlink()
    (code,), (command,) = blocks(TUTORIAL[SAMPLE], "python"), commands(TUTORIAL[SAMPLE])
    (tmp_path / "sample.py").write_text(code.replace("/usr/share/openclipart/png", str(drawings)))
    run(command, capsys)
    assert [len([*folder.iterdir()]) for folder in sorted(Path("flowers").iterdir())] == [24, 24]
    assert not any(file.is_symlink() for file in Path("flowers").rglob("*"))
    with Path("pictures.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["file"] for row in rows} == {str(file) for file in Path("flowers").rglob("*.png")}
    assert sum(row["part"] == "held out" for row in rows) == 2 * 5
    assert {Path(row["file"]).parent.name == row["class"] for row in rows} == {True}


def test_keys_on_the_command_line_are_those_of_the_config(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DOCS.parent)
    train, scopes = commands(sections("fxbin_train.md")["Keys on the command line"])
    planned = run([*train, "--plan"], capsys)
    assert "4/4" in planned
    assert "1.00e-03" in planned
    assert 'in ignored_scopes: "{re}conv1"' in run(scopes, capsys)


def test_a_loop_with_a_teacher_prints_what_the_page_says() -> None:
    text = sections("staged_training.md")["With a teacher"]
    (code,), (expected,) = blocks(text, "python"), blocks(text, "text")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, {})
    assert output.getvalue() == expected


def test_the_steps_on_the_page_are_a_config() -> None:
    (steps,) = blocks(sections("fxbin_train.md")["Step by step"], "json5")
    config = load_config(json5.loads(f"{{{steps}}}"))
    assert config.distillation.teacher is not None
    assert config.distillation.teacher.previous_stage
    params = config.binarization.params
    assert stage_at(params, 29) == "activations"
    assert stage_at(params, 30) == "learning rate falls"
