"""The option `--best` and the folder of a run, for all commands that take a trained network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from fxbin.cli.network import chosen_checkpoint, network_from
from fxbin.errors import CheckpointError, ConfigError
from fxbin.train.checkpoint import load_checkpoint, save_checkpoint
from fxbin.train.run import train
from tests.cli.commands import exit_code

pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")

COMMANDS: dict[str, tuple[str, ...]] = {
    "export": ("out.onnx",),
    "verify": ("--runtimes", "compiled"),
    "bench": ("--runtimes", "engine", "--rounds", "1"),
    "summary": (),
    "eval": (),
    "predict": ("a.png",),
    "report": ("--no-time",),
}
"""The commands with `--best`, each with what else it needs."""


@pytest.fixture
def run(config: Path, tmp_path: Path) -> Path:
    """The folder of a run whose best network is another one than the last."""
    folder = tmp_path / "run"
    train(config, folder)
    last = load_checkpoint(folder / "checkpoint.pt")
    changed = {name: value.clone() for name, value in last.model.items()}
    changed["fc.bias"] += 1
    (folder / "best.pt").unlink()
    save_checkpoint(replace(last, model=changed), folder / "best.pt")
    return folder


def bias(network: Any) -> list[float]:
    found: list[float] = network.model.get_parameter("fc.bias").tolist()
    return found


def test_a_folder_is_its_last_checkpoint_and_best_the_other_one(run: Path, tmp_path: Path) -> None:
    last, best = (bias(network_from(str(run / name), None)) for name in ("checkpoint.pt", "best.pt"))
    assert last != best
    assert bias(network_from(str(run), None)) == last
    for source in (run, run / "checkpoint.pt", run / "best.pt"):
        assert bias(network_from(str(source), None, best=True)) == best
    assert exit_code("export", run, tmp_path / "best.onnx", "--best", "--operators", "standard") == 0
    weights = onnx.load(tmp_path / "best.onnx").graph.initializer
    biases = [onnx.numpy_helper.to_array(each).tolist() for each in weights if each.dims == [len(best)]]
    assert pytest.approx(best) in biases


def test_without_a_best_epoch_every_command_says_why(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "best.pt").unlink()
    last = load_checkpoint(run / "checkpoint.pt")
    save_checkpoint(replace(last, history=last.history[:3], epoch=1), run / "checkpoint.pt")
    Path("a.png").touch()
    before = sorted(run.iterdir())
    for command, others in COMMANDS.items():
        assert exit_code(command, run, *others, "--best") == 2
        shown = capsys.readouterr().err
        assert (
            f"--best: the run in {run} has no best.pt: it has finished no epoch in which activatio" in shown
        )
        assert "only up to epoch 2, stage 'activations'. Let `fxbin train` continue." in shown
    assert sorted(run.iterdir()) == before
    assert not Path("out.onnx").exists()


def test_what_is_no_run_is_an_error(run: Path, tmp_path: Path, config: Path) -> None:
    (run / "best.pt").unlink()
    with pytest.raises(CheckpointError, match="it has been removed"):
        chosen_checkpoint(str(run), best=True)
    with pytest.raises(ConfigError, match="--best: 'resnet_thin': expected the folder of a run"):
        chosen_checkpoint("resnet_thin", best=True)
    with pytest.raises(ConfigError, match=r"--best: with --config, own.pt is no run: leave"):
        chosen_checkpoint("own.pt", str(config), best=True)
    with pytest.raises(
        CheckpointError, match=r"SOURCE: the folder .* has no checkpoint.pt: expected the folder"
    ):
        chosen_checkpoint(str(tmp_path))


def test_a_folder_may_have_the_name_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet_thin").mkdir()
    assert chosen_checkpoint("resnet_thin") == "resnet_thin"
