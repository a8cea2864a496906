import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from fxbin.config import load_config
from fxbin.errors import ConfigError
from fxbin.train.history import EpochRecord
from fxbin.train.loggers import choose
from fxbin.train.loggers.choose import check_loggers, open_loggers
from fxbin.train.loggers.logger import Logger, LoggerRun, metrics_of
from fxbin.train.run import train
from tests.train.small_run import BATCHES, InterruptedAt, small_run

RECORD = EpochRecord("staged", 0, "activations", 1e-3, 1e-5, 0.5, 80.0, 70.5, 1.0, label_loss=0.25)


def config_of(**keys: Any) -> Any:
    return load_config({"compression": {"algorithm": "binarization"}} | keys)


class Noted:
    """A logger that notes what it gets."""

    def __init__(self, run: LoggerRun, options: dict[str, Any]) -> None:
        self.run, self.options = run, options
        self.epochs: list[int] = []
        self.losses: list[float] = []
        self.finished: bool | None = None

    def add(self, record: EpochRecord, epoch: int) -> None:
        self.epochs.append(epoch)
        self.losses.append(record.loss)

    def close(self, *, finished: bool) -> None:
        self.finished = finished


def test_a_logger_gets_each_epoch_once_whatever_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Noted] = []

    def make(run: LoggerRun, options: dict[str, Any]) -> Logger:
        made.append(Noted(run, options))
        return made[-1]

    monkeypatch.setitem(choose.CLASSES, "mlflow", make)
    monkeypatch.setitem(choose.PACKAGES, "mlflow", "json")
    config = small_run(tmp_path, loggers=[{"name": "mlflow", "experiment": "small"}])
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=InterruptedAt(3 * BATCHES + 1))
    trained = train(config, tmp_path / "run")
    assert [(log.epochs, log.finished) for log in made] == [([1, 2, 3], False), ([4, 5, 6], True)]
    assert [log.run.epochs_done for log in made] == [0, 3]
    assert made[0].losses + made[1].losses == [record.loss for record in trained.history]
    assert made[0].options == {"experiment": "small"}
    assert made[0].run.config["batch_size"] == 16
    # Where metrics go changes no number.
    train(config | {"loggers": [], "epochs": 6}, tmp_path / "run")
    assert len(made) == 2


def test_metrics_csv_has_each_epoch_once_also_after_a_run_was_killed(tmp_path: Path) -> None:
    config = small_run(tmp_path, ema={"decay": 0.5})
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=InterruptedAt(3 * BATCHES + 1))
    path = tmp_path / "run" / "metrics.csv"
    # A row that was written in part, and one of an epoch that is not in the checkpoint.
    path.write_text(path.read_text()[:-4] + "\n4,staged,activ")
    trained = train(config, tmp_path / "run")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [row["stage"] for row in rows] == [record.stage for record in trained.history]
    assert [float(row["loss"]) for row in rows] == [record.loss for record in trained.history]
    assert [row["average_accuracy"] for row in rows[:2]] == ["", str(trained.history[1].average_accuracy)]
    assert all(float(row["images_per_second"]) > 0 for row in rows)


def test_metrics_have_names_and_those_that_an_epoch_lacks_are_left_out() -> None:
    assert metrics_of(RECORD) == {
        "loss": 0.5,
        "accuracy/train": 80.0,
        "accuracy/test": 70.5,
        "lr": 1e-3,
        "weight_decay": 1e-5,
        "label_loss": 0.25,
    }


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing_is_an_error_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, choose.PACKAGES[name], None)
    config = small_run(tmp_path, loggers=name)
    progress = InterruptedAt()
    with pytest.raises(ConfigError, match=rf"{name}: it is not installed: `pip install 'fxbin\[{name}\]'`"):
        train(config, tmp_path / "run", progress=progress)
    assert progress.seen == 0


@pytest.mark.parametrize(
    ("loggers", "expected"),
    [
        (
            "wandbb",
            'loggers: got "wandbb", expected one of tensorboard, wandb, mlflow, or an object with such a',
        ),
        (
            ["mlflow", {"name": "wand"}],
            'loggers[1].name: got "wand", expected one of tensorboard, wandb, mlflow',
        ),
        (["mlflow", {"name": "wand"}], 'Did you mean "wandb"?'),
        (
            {"name": "wandb", "projekt": "a"},
            'loggers.projekt: got "a", expected an option of wandb: project, ',
        ),
        ({"name": "tensorboard", "folder": "a"}, "expected an option of tensorboard: none."),
        (3, "loggers: got 3, expected one of"),
    ],
)
def test_what_is_wrong_with_a_logger_is_said(loggers: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(loggers=loggers)
    assert expected in str(caught.value)


def test_a_logger_that_is_named_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choose.CLASSES, "tensorboard", Noted)
    run = LoggerRun(tmp_path, {}, 0)
    with open_loggers(config_of(loggers="tensorboard", tensorboard=True), run, []) as found:
        assert [type(log) for log in found] == [Noted]
    check_loggers(config_of())


def sittings(tmp_path: Path, options: dict[str, Any]) -> None:
    """Two sittings of one run with the loggers of `options`: epochs 1 and 2, then 3."""
    for first, last in ((1, 2), (3, 3)):
        run = LoggerRun(tmp_path / "run", {"epochs": 3, "compression": [{"mode": "xnor"}]}, first - 1)
        with open_loggers(config_of(loggers=options), run, []) as found:
            for epoch in range(first, last + 1):
                found[0].add(RECORD, epoch)


# Of sqlalchemy, which MLflow uses.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_has_one_run_for_all_sittings(tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    sittings(tmp_path, {"name": "mlflow", "experiment": "small"})
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "accuracy/test")
    assert [(metric.step, metric.value) for metric in history] == [(1, 70.5), (2, 70.5), (3, 70.5)]
    assert run.data.params["compression.mode"] == "xnor"


def test_wandb_has_one_run_for_all_sittings(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    sittings(tmp_path, {"name": "wandb", "mode": "offline", "project": "small"})
    folders = [path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*")]
    kept = (tmp_path / "run" / "wandb_run.txt").read_text().strip()
    assert folders
    assert {name.rpartition("-")[2] for name in folders} == {kept}
