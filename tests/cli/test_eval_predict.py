"""`fxbin eval` and `fxbin predict`, on a network that was trained on pictures in folders."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fxbin.cli.eval import table_of
from fxbin.train import outputs, subject
from fxbin.train.build import binarized_from
from fxbin.train.checkpoint import load_checkpoint, save_checkpoint
from fxbin.train.data import ImageData
from fxbin.train.data.folder import open_folder
from fxbin.train.data.kept import why_not_held_out
from fxbin.train.held_out import ClassAccuracy, HeldOutAccuracy
from tests.cli.commands import CONFIG, exit_code, write
from tests.folders import write_folder

pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")
pytest.importorskip("torchvision")
pytest.importorskip("PIL")

CLASSES = ("class_0", "class_1", "class_2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pictures`, the config of a run on them and its checkpoint in `run`."""
    root = tmp_path_factory.mktemp("trained")
    write_folder(root / "pictures", pictures=10)
    params = {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 0, "base_lr": 0.01}
    changed = {
        "data": "folder:pictures",
        "input_info": {"sample_size": [1, 3, 12, 12]},
        "pretrain": {"epochs": 2, "lr": 0.01},
        "epochs": 2,
        "batch_size": 8,
        "workers": 0,
        "ema": {"decay": 0.5},
        "compression": {"algorithm": "binarization", "params": params},
    }
    (root / "run.json5").write_text(json.dumps(CONFIG | changed))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_graph", "write_curves", "run_in_engine", "verify_onnx"):
            patch.setattr(f"fxbin.train.outputs.{name}", lambda *_: None)
        patch.chdir("/")
        assert exit_code("train", root / "run.json5", "-o", root / "run") == 0
    return root


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in a folder that has nothing to do with the run."""
    monkeypatch.chdir(tmp_path)


def shown_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert exit_code(*arguments) == 0
    return json.loads(capsys.readouterr().out)


def by_hand(trained: Path, files: list[Path]) -> torch.Tensor:
    """The logits of `files` by the preprocessing that the checkpoint names, written out."""
    from PIL import Image
    from torchvision.transforms import v2

    checkpoint = load_checkpoint(trained / "run" / "checkpoint.pt")
    assert checkpoint.data is not None
    how = checkpoint.data["pictures"]
    transform = v2.Compose(
        [
            v2.Resize(how["resize"], antialias=True),
            v2.CenterCrop((how["height"], how["width"])),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(how["mean"], how["std"]),
        ]
    )
    x = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        logits: torch.Tensor = binarized_from(checkpoint, file=trained / "run" / "checkpoint.pt")(x)
    return logits


def test_eval_gives_the_accuracy_that_the_training_found(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads((trained / "run" / "report.json").read_text())
    checkpoint = trained / "run" / "checkpoint.pt"
    found = shown_json(capsys, "eval", checkpoint, "--json")
    assert found["accuracy"] == pytest.approx(report["accuracy"]["final"])
    assert found["pictures"] == 6
    assert [each["name"] for each in found["classes"]] == [*CLASSES]
    assert sum(each["correct"] for each in found["classes"]) == found["correct"]
    best = shown_json(capsys, "eval", checkpoint.with_name("best.pt"), "--json")
    assert best["accuracy"] == pytest.approx(report["best"]["test_accuracy"])
    for source in (checkpoint, checkpoint.parent):
        assert shown_json(capsys, "eval", source, "--best", "--json") == best
    assert shown_json(capsys, "eval", checkpoint.parent, "--json") == found
    averaged = shown_json(capsys, "eval", checkpoint, "--json", "--ema")
    assert averaged["accuracy"] == pytest.approx(report["ema"]["accuracy"])
    assert exit_code("eval", checkpoint, "--per-class") == 0
    shown = capsys.readouterr().out
    assert f"{found['accuracy']:.2f} %: {found['correct']} of 6 held-out pictures of folder:" in shown
    assert "(stage: activations and weights)" in shown
    assert all(name in shown for name in CLASSES)


def test_eval_takes_other_pictures_and_matches_classes_by_name(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("other"), pictures=4, seed=1)
    files = sorted(Path("other").rglob("*.png"))
    right = by_hand(trained, files).argmax(1) == torch.arange(3).repeat_interleave(4)
    checkpoint = trained / "run" / "checkpoint.pt"
    found = shown_json(capsys, "eval", checkpoint, "--data", "folder:other", "--json")
    assert [each["correct"] for each in found["classes"]] == right.view(3, 4).sum(1).tolist()
    shutil.copytree("other", "split/val")
    shutil.copytree("other", "split/train")
    other = ("eval", checkpoint, "--data", "folder:split", "--json")
    assert shown_json(capsys, *other)["classes"] == found["classes"]
    assert exit_code("eval", checkpoint, *other[2:-1]) == 0
    assert "of 12 held-out pictures of folder:" in capsys.readouterr().out
    shutil.rmtree("split/train")
    assert exit_code("eval", checkpoint, "--data", "folder:split") == 2
    assert "'folder:split': it has the folder 'val', but no train: write 'folder:split/val'" in (
        capsys.readouterr().err
    )
    Path("split/val").rename("split/train")
    assert exit_code("eval", checkpoint, "--data", "folder:split") == 2
    assert (
        "but no val or test or validation or valid or testing: write 'folder:split/train'"
        in capsys.readouterr().err
    )
    assert exit_code("eval", checkpoint, "--data", "folder:split/train") == 0
    shown = capsys.readouterr()
    assert "of 12 pictures of folder:" in shown.out
    assert shown.err == ""
    pictures = trained / "pictures"
    assert exit_code("eval", checkpoint, "--data", f"folder:{pictures}") == 0
    shown = capsys.readouterr()
    assert "of 30 pictures of folder:" in shown.out
    assert f"note: --data: 'folder:{pictures}' is what the network was trained on." in shown.err
    shutil.rmtree("other/class_0")
    found = shown_json(capsys, "eval", checkpoint, "--data", "folder:other", "--json")
    assert [each["correct"] for each in found["classes"]] == [0, *right.view(3, 4).sum(1).tolist()[1:]]
    assert [each["accuracy"] is None for each in found["classes"]] == [True, False, False]
    Path("other/class_1").rename("other/cats")
    assert exit_code("eval", checkpoint, "--data", "folder:other") == 2
    assert "classes that the network was not trained on: cats. It knows class_0" in capsys.readouterr().err
    shutil.rmtree("other/cats")
    alone = shown_json(capsys, "eval", checkpoint, "--data", "folder:other", "--json")
    assert alone["classes"] == [
        each | ({"pictures": 0, "correct": 0, "accuracy": None} if each["name"] == "class_1" else {})
        for each in found["classes"]
    ]
    assert exit_code("eval", checkpoint, "--set", "data_held_out=folder:other") == 0
    assert f"of 4 held-out pictures of folder:{Path('other').resolve()} (" in capsys.readouterr().out


def test_eval_takes_a_state_dict_with_its_config(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = load_checkpoint(trained / "run" / "checkpoint.pt")
    torch.save(checkpoint.model, "own.pt")
    config = ("--config", trained / "run.json5", "--set", "num_classes=3")
    found = shown_json(capsys, "eval", "own.pt", *config, "--json")
    expected = shown_json(capsys, "eval", trained / "run" / "checkpoint.pt", "--json")
    assert found["classes"] == expected["classes"]


def test_predict_is_the_same_from_checkpoint_and_file(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    files = sorted((trained / "pictures" / "class_1").iterdir())[:3]
    shares = by_hand(trained, files).softmax(1)
    assert exit_code("export", trained / "run" / "checkpoint.pt", "again.onnx") == 0
    for source in (trained / "run" / "checkpoint.pt", trained / "run" / "model.onnx", "again.onnx"):
        found = shown_json(capsys, "predict", source, *files, "--format", "json")
        assert [each["file"] for each in found] == [*map(str, files)]
        for row, each in zip(shares, found, strict=True):
            assert [one["label"] for one in each["classes"]] == row.argsort(descending=True).tolist()
            assert all(one["class"] == CLASSES[one["label"]] for one in each["classes"])
            found_shares = torch.tensor([one["probability"] for one in each["classes"]])
            torch.testing.assert_close(found_shares, row.sort(descending=True).values, rtol=1e-4, atol=1e-5)


def test_a_file_of_a_run_on_mnist_predicts_what_the_checkpoint_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    pytest.importorskip("onnxruntime")
    x, y = torch.randn(50, 1, 28, 28), torch.arange(50) % 10
    images = ImageData("mnist", x[:40], y[:40], x[40:], y[40:], classes=10)
    monkeypatch.setattr(subject, "open_data", lambda _config: images)
    for name in ("write_graph", "write_curves", "run_in_engine", "verify_onnx"):
        monkeypatch.setattr(outputs, name, lambda *_: None)
    write(Path("digits.json5"), input_info={"sample_size": [1, 1, 28, 28]})
    assert exit_code("train", "digits.json5", "-o", "run") == 0
    assert exit_code("export", "run", "again.onnx") == 0
    digits = torch.randint(256, (3, 28, 28), dtype=torch.uint8)
    for number, digit in enumerate(digits):
        Image.fromarray(digit.numpy()).save(f"{number}.png")
    checkpoint = load_checkpoint(Path("run/checkpoint.pt"))
    with torch.no_grad():
        logits = binarized_from(checkpoint)((digits[:, None] / 255 - 0.1307) / 0.3081)
    for source in ("run", "run/model.onnx", "again.onnx"):
        found = shown_json(capsys, "predict", source, *(f"{n}.png" for n in range(3)), "--format", "json")
        for row, each in zip(logits.softmax(1), found, strict=True):
            assert each["classes"][0]["class"] == str(int(row.argmax()))
            assert each["classes"][0]["probability"] == pytest.approx(float(row.max()), rel=1e-4)


def test_predict_names_what_is_no_picture_and_predicts_the_rest(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("new"), classes=2, pictures=1)
    Path("new/class_0/broken.png").write_bytes(Path("new/class_0/000.png").read_bytes()[:60])
    Path("new/notes.txt").write_text("no picture")
    Path("none").mkdir()
    given = (
        "predict",
        trained / "run" / "checkpoint.pt",
        "new",
        "new/notes.txt",
        "none.png",
        "none",
        "--top",
        1,
    )
    assert exit_code(*given, "--format", "csv") == 2
    shown = capsys.readouterr()
    rows = list(csv.reader(io.StringIO(shown.out)))
    assert rows[0] == ["file", "rank", "class", "label", "probability"]
    assert [row[0] for row in rows[1:]] == ["new/class_0/000.png", "new/class_1/000.png"]
    assert "error: new/class_0/broken.png cannot be read: " in shown.err
    assert "error: new/notes.txt cannot be read: not a picture" in shown.err
    assert f"error: none.png cannot be read: {os.strerror(2)}" in shown.err
    assert "error: none cannot be read: a folder without files that end in .jpg" in shown.err
    assert "error: 4 of 6 files are no pictures that can be read" in shown.err
    assert exit_code(*given) == 2
    assert capsys.readouterr().out.startswith("new/class_0/000.png: class_")
    assert exit_code(*given, "--format", "json") == 2
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_what_cannot_be_used_is_an_error(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = load_checkpoint(trained / "run" / "checkpoint.pt")
    checkpoint.data = None
    save_checkpoint(checkpoint, Path("without.pt"))
    Path("empty").mkdir()
    wrong = {
        ("eval", "none.pt"): "checkpoint none.pt does not exist",
        ("eval", "run.json5"): "SOURCE: 'run.json5': expected the folder of a run, or a checkpoint",
        ("eval", "empty"): "SOURCE: 'empty': expected the folder of a run, or a checkpoint",
        ("predict", "a.onnx", "a.png", "--best"): "--best: a.onnx is an exported file, leave the option out",
        (
            "predict",
            trained / "run" / "checkpoint.pt",
            "empty",
        ): "error: empty cannot be read: a folder without",
        ("predict", "none.onnx", "a.png"): "none.onnx does not exist",
        ("predict", "a.onnx", "a.png", "--ema"): "--ema: a.onnx is an exported file, leave the option out",
        (
            "predict",
            "without.pt",
            "a.png",
        ): "pictures.mean: mean and deviation of the training pictures",
        (
            "eval",
            trained / "run" / "checkpoint.pt",
            "--data",
            "folder:none",
        ): "the folder none does not",
    }
    for arguments, message in wrong.items():
        assert exit_code(*arguments) == 2
        assert message in capsys.readouterr().err.replace(str(Path.cwd()) + "/", "")


@pytest.fixture
def moved(trained: Path) -> Iterator[Path]:
    """A picture that the run has held out, under another name as long as the test runs."""
    parts = open_folder(trained / "pictures", None, 0.2, 0)
    file = Path(parts.held_out.where(0))
    other = file.with_name("moved.png")
    file.rename(other)
    yield other
    other.rename(file)


def test_eval_says_if_other_pictures_are_held_out_than_in_the_run(
    trained: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    checkpoint = trained / "run" / "checkpoint.pt"
    assert exit_code("eval", checkpoint) == 0
    assert capsys.readouterr().err == ""
    assert exit_code("eval", checkpoint, "--set", "split_seed=1") == 0
    note = "note: data: the held-out pictures (6) are not those that the run was started with"
    assert note in capsys.readouterr().err
    assert exit_code("eval", checkpoint, "--set", "held_out_share=0.4") == 0
    assert "note: data: the held-out pictures (6, now 12) are not those" in capsys.readouterr().err
    assert exit_code("eval", checkpoint, "--set", f"data_held_out=folder:{trained / 'pictures'}") == 0
    assert capsys.readouterr().err == ""
    request.getfixturevalue("moved")
    assert exit_code("eval", checkpoint) == 0
    assert note in capsys.readouterr().err


def test_a_run_does_not_go_on_with_other_held_out_pictures(
    trained: Path, moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moved.is_file()
    for command in ("check", "train"):
        assert exit_code(command, trained / "run.json5", "-o", trained / "run") == 2
        shown = capsys.readouterr()
        text = " ".join((shown.out + shown.err).split())
        assert "data: the held-out pictures (6" in text
        assert "start over with --restart" in text


def test_what_an_earlier_version_held_out_is_not_taken_for_what_is_held_out_now(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(trained / "run" / "checkpoint.pt")
    assert checkpoint.data is not None
    del checkpoint.data["held_out"]
    save_checkpoint(checkpoint, Path("run/checkpoint.pt"))
    assert exit_code("eval", "run/checkpoint.pt") == 0
    earlier = "the run was started with an earlier version of fxbin, which chose other held-out pictures"
    assert f"note: data: {earlier}. Some may have been trained on" in capsys.readouterr().err
    assert exit_code("train", trained / "run.json5", "-o", "run") == 2
    assert earlier in " ".join(capsys.readouterr().err.split())
    whole = {"held_out": {"is_share": False}}
    assert why_not_held_out({"classes": []}, whole) is None  # a folder or split, as then


def test_predict_says_what_it_leaves_out_in_folders(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("new"), classes=1, pictures=2)
    Path("new/notes.gif").write_text("not read")
    Path("new/class_0/.hidden.png").write_text("not read, and not told of")
    write_folder(Path("new/__MACOSX"), classes=1)
    assert exit_code("predict", trained / "run", "new", "--top", 1) == 0
    shown = capsys.readouterr()
    assert [line.split(":")[0] for line in shown.out.splitlines()] == [
        "new/class_0/000.png",
        "new/class_0/001.png",
    ]
    assert "note: 1 file is left out in new, by the ends of their names no pictures" in shown.err
    assert "note: hidden folders are left out: new/__MACOSX" in shown.err


def test_phone_pictures_are_predicted_as_they_are_looked_at(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    picture = Image.effect_mandelbrot((12, 12), (-2, -1.5, 1, 1.5), 100).convert("RGB")
    picture.save("upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    upright, turned = shown_json(
        capsys, "predict", trained / "run", "upright.png", "turned.png", "--format", "json"
    )
    assert upright["classes"] == turned["classes"]


def test_brackets_in_names_of_classes_are_printed() -> None:
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        console.print(table_of(HeldOutAccuracy((ClassAccuracy("car [red]", 4, 3),))))
    assert "car [red]" in capture.get()
