"""The page of a training run: what its files hold, and what is computed from its network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fxbin.binarized.module import BinarizedModule
from fxbin.errors import CheckpointError, ConfigError, DataError
from fxbin.errors.messages import counted
from fxbin.report.benchmark import BenchmarkReport
from fxbin.report.page.content import Content, content_of
from fxbin.report.page.curve_data import epoch_numbers
from fxbin.train.best import best_path
from fxbin.train.build import binarized_from, config_of
from fxbin.train.checkpoint import Checkpoint, load_checkpoint
from fxbin.train.held_out import with_kept_preprocessing
from fxbin.train.history import PRETRAINING
from fxbin.train.report import read_report
from fxbin.train.resume import checkpoint_path
from fxbin.train.run_folder import checkpoint_in
from fxbin.train.run_notes import RUNTIMES, notes_on_earlier_epoch, notes_on_progress, notes_without_result
from fxbin.train.subject import Subject

History = Sequence[Mapping[str, Any]]
"""One `EpochRecord.to_dict()` for each epoch, of both phases."""


@dataclass(frozen=True)
class BestEpoch:
    """The epoch whose checkpoint is in `best.pt`."""

    position: int
    """Its position in the history of the run, over both phases, from 0."""

    number: int
    """Its number as the lines of the training count it: within the stages, from 1."""

    accuracy: float
    """What `best_by` compares: accuracy on the held-out images, in per cent."""


@dataclass(frozen=True)
class TrainedRun:
    """What the files of a run hold."""

    source: Path
    """The folder that `fxbin train` wrote, or a checkpoint."""

    file: Path
    """The file of the checkpoint."""

    checkpoint: Checkpoint
    """The last checkpoint, or that of the best epoch, or the one that was asked for."""

    model: BinarizedModule
    """The network of the checkpoint, in eval mode."""

    history: History
    """The epochs of the run, also those after the checkpoint of the best epoch."""

    result: Mapping[str, Any] | None
    """The content of `report.json`; None if there is none that belongs to `history`."""

    notes: tuple[str, ...] = ()
    """What is missing, and why, a sentence each."""

    is_best: bool = False
    """Whether `checkpoint` is that of the best epoch."""

    @property
    def shown(self) -> int | None:
        """Position in `history` of the last epoch of `checkpoint`; None if it has finished none."""
        return len(self.checkpoint.history) - 1 if self.checkpoint.history else None

    @property
    def is_within_epoch(self) -> bool:
        """Whether the checkpoint was written within an epoch, of which a part is done."""
        return self.checkpoint.position is not None


def read_run(source: Path, *, average: bool = False, best: bool = False) -> TrainedRun:
    """Read the run in the folder `source`, or its checkpoint `source`; with `best`, its best epoch.

    With `average`, the network has the averaged parameters.
    Raises CheckpointError if there is no such checkpoint; DataError if `report.json` is damaged.
    """
    folder = source if source.is_dir() else source.parent
    file = checkpoint_in(folder, best=best) if best or source.is_dir() else source
    checkpoint = load_checkpoint(file)
    is_best = file.name == best_path(file).name
    last = _last_checkpoint(source, file, checkpoint, is_best=is_best)
    history: History = checkpoint.history if last is None else last.history
    found = read_report(folder)
    result = found if found is not None and _is_result_of(found, history, last or checkpoint) else None
    model = binarized_from(checkpoint, average=average, file=file, early=True)
    notes = notes_on_progress(checkpoint)
    if result is None:
        notes += notes_without_result(file, last, is_best=is_best, is_stale=found is not None)
    elif len(checkpoint.history) < len(history):
        notes += notes_on_earlier_epoch(result)
    return TrainedRun(source, file, checkpoint, model, history, result, tuple(notes), is_best)


def run_content(
    run: TrainedRun, *, pictures: int, timings: BenchmarkReport | None = None, notes: Sequence[str] = ()
) -> Content:
    """The content of the page about `run`, with histograms over up to `pictures` held-out pictures.

    If the data set is not here, there are none, and a note on the page says why.
    """
    problems = [*notes, *run.notes]
    inputs = None
    if pictures and run.checkpoint.phase == PRETRAINING:
        problems.append("No histograms of activations: the stages set the thresholds, and have not begun.")
    elif pictures:
        try:
            inputs = held_out_pictures(run, pictures)
        except (DataError, ConfigError) as error:
            problems.append(f"No histograms of activations, as the data of the run cannot be read: {error}")
    best = None
    try:
        best = best_epoch(run)
    except CheckpointError as error:
        problems.append(f"The best epoch is not known: {error}")
    return content_of(
        run.model,
        title=_title(run),
        inputs=inputs,
        inputs_name="" if inputs is None else counted(len(inputs), "held-out picture"),
        epochs=run.history,
        shown=run.shown,
        timings=timings,
        best=None if best is None else best.position,
        stage="" if run.shown is None or run.is_within_epoch else run.history[run.shown]["stage"],
        facts=facts_of(_result_shown(run), None if run.is_best else best),
        config=json.dumps(run.checkpoint.config, indent=2, sort_keys=True),
        notes=problems,
    )


def best_epoch(run: TrainedRun) -> BestEpoch | None:
    """The epoch that `best.pt` beside the checkpoint of `run` holds; None if there is no such file.

    The file itself is asked, as the best epoch of the history may be lost.
    Raises CheckpointError if it cannot be read, or if another run has left it.
    """
    path, history = best_path(run.file), run.history
    is_of_run = run.source.is_dir() or run.file in (path, checkpoint_path(run.file.parent))
    if not is_of_run or not path.is_file():
        return None
    kept = run.checkpoint.history if path.samefile(run.file) else load_checkpoint(path).history
    if not kept or not _begins_with(history, kept):
        raise CheckpointError(f"{path} does not belong to this run, whose checkpoint has other epochs.")
    accuracy = kept[-1][config_of(run.checkpoint, run.file).best_by]
    return BestEpoch(len(kept) - 1, epoch_numbers(kept)[-1], accuracy)


def held_out_pictures(run: TrainedRun, limit: int) -> Tensor:
    """Up to `limit` held-out pictures of the data set of `run`, as inputs ``(n, c, h, w)``.

    Raises DataError if they cannot be read.
    """
    config = config_of(run.checkpoint, run.file)
    x, _ = Subject(with_kept_preprocessing(config, run.checkpoint.data)).data.samples(limit)
    return x.cpu()


def facts_of(result: Mapping[str, Any], best: BestEpoch | None = None) -> dict[str, str]:
    """What `report.json` says about accuracy, and the accuracy of `best`, as short texts by name."""
    found = result.get("accuracy") or {}
    facts = {
        "held-out accuracy": _percent(found.get("final")),
        **({} if best is None else {f"best.pt, of epoch {best.number}": _percent(best.accuracy)}),
        "full precision, before": _percent(found.get("full_precision")),
        "averaged network": _percent((result.get("ema") or {}).get("accuracy")),
    }
    for section, name in RUNTIMES.items():
        facts[f"accuracy in {name}"] = _percent((result.get(section) or {}).get("accuracy"))
    facts["data"] = str(result.get("data") or "")
    if seconds := result.get("training_seconds"):
        facts["training"] = f"{seconds / 60:.1f} min" if seconds >= 100 else f"{seconds:.0f} s"
    return {name: value for name, value in facts.items() if value}


def _last_checkpoint(source: Path, file: Path, checkpoint: Checkpoint, *, is_best: bool) -> Checkpoint | None:
    """The last checkpoint of the run that `checkpoint`, read from `file`, is of; None if it is not known."""
    if not is_best:
        return checkpoint if source.is_dir() else None
    path = checkpoint_path(file.parent)
    last = load_checkpoint(path) if path.is_file() else None
    return last if last is not None and _begins_with(last.history, checkpoint.history) else None


def _begins_with(history: History, start: History) -> bool:
    """Whether `start` are the first epochs of `history`, of the same run."""
    return len(start) <= len(history) and all(map(_is_same_epoch, start, history))


def _is_same_epoch(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records are of one epoch of one run; no two have taken exactly the same time."""
    return all(one.get(key) == other.get(key) for key in ("phase", "epoch", "seconds"))


def _is_result_of(result: Mapping[str, Any], history: History, checkpoint: Checkpoint) -> bool:
    """Whether `result`, a `report.json`, is that of the run with `history`.

    The file of an earlier training stays in the folder while the run starts over, or goes on.
    """
    recorded = result.get("history", ())
    is_whole = len(recorded) == len(history) and _begins_with(history, recorded)
    return is_whole and checkpoint.position is None


def _title(run: TrainedRun) -> str:
    """The name of the run and of its model, and the epoch if that is not the last one of a folder."""
    folder = run.source if run.source.is_dir() else run.source.parent
    title = f"{folder.resolve().name}: {type(run.model).__name__}"
    if run.is_best:
        return f"{title}, best epoch: {run.checkpoint.epoch + 1}"
    if run.source.is_dir() or run.shown is None:
        return title
    phase = " of the pretraining" if run.checkpoint.phase == PRETRAINING else ""
    return f"{title}, epoch {run.checkpoint.epoch + 1}{phase}"


def _result_shown(run: TrainedRun) -> Mapping[str, Any]:
    """`report.json`, or what it would say about the epoch of the checkpoint.

    Only the last epoch of a finished run was evaluated in other runtimes.
    """
    if run.result is not None and run.shown == len(run.history) - 1:
        return run.result
    if run.shown is None or run.is_within_epoch:
        return {}
    record, result = run.checkpoint.history[-1], run.result or {}
    before = [past["test_accuracy"] for past in run.history if past["phase"] == PRETRAINING]
    is_before = run.checkpoint.phase == PRETRAINING or not before
    return {
        "accuracy": {
            "final": record["test_accuracy"],
            "full_precision": None if is_before else before[-1],
        },
        "ema": {"accuracy": record.get("average_accuracy")},
        **{key: result[key] for key in ("data", "training_seconds") if key in result},
    }


def _percent(value: object) -> str:
    return f"{value:.2f} %" if isinstance(value, (int, float)) else ""
