"""The page of a training run: what its folder holds, and what is computed from its network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fxbin.binarized.module import BinarizedModule
from fxbin.errors import CheckpointError, ConfigError, DataError
from fxbin.report.benchmark import BenchmarkReport
from fxbin.report.page.content import Content, content_of
from fxbin.train.best import best_path
from fxbin.train.build import binarized_from, config_of
from fxbin.train.checkpoint import Checkpoint, load_checkpoint
from fxbin.train.held_out import with_kept_preprocessing
from fxbin.train.resume import checkpoint_path
from fxbin.train.run_folder import checkpoint_in
from fxbin.train.subject import Subject

_RUNTIMES = {"onnx": "onnxruntime", "engine": "the deployed network", "openvino": "OpenVINO"}
"""Sections of `report.json` with the accuracy in a runtime, and what they are called."""


@dataclass(frozen=True)
class BestEpoch:
    """The epoch whose checkpoint is in `best.pt`."""

    position: int
    """Its position in the history of the run, over both phases, from 0."""

    accuracy: float
    """What `best_by` compares: accuracy on the held-out images, in per cent."""


@dataclass(frozen=True)
class TrainedRun:
    """What the folder of a run holds."""

    folder: Path
    """The folder that `fxbin train` wrote."""

    checkpoint: Checkpoint
    """The last checkpoint, or that of the best epoch."""

    model: BinarizedModule
    """The network of the checkpoint, in eval mode."""

    history: Sequence[Mapping[str, Any]]
    """All epochs of the run, also those after the checkpoint."""

    result: Mapping[str, Any] | None
    """The content of `report.json`; None if the run has not finished."""

    is_best: bool = False
    """Whether `checkpoint` is that of the best epoch."""


def read_run(folder: Path, *, average: bool = False, best: bool = False) -> TrainedRun:
    """Read the folder of a run; with `average`, with the averaged parameters; with `best`, its best epoch.

    Raises CheckpointError if there is no such checkpoint, or not yet one of the stages; DataError if
    `report.json` is damaged.
    """
    path = checkpoint_in(folder, best=best)
    checkpoint = load_checkpoint(path)
    last = checkpoint_path(folder)
    history = load_checkpoint(last).history if best and last.is_file() else checkpoint.history
    model = binarized_from(checkpoint, average=average, file=path)
    return TrainedRun(folder, checkpoint, model, history, _result(folder), best)


def run_content(
    run: TrainedRun, *, pictures: int, timings: BenchmarkReport | None = None, notes: Sequence[str] = ()
) -> Content:
    """The content of the page about `run`, with histograms over up to `pictures` held-out pictures.

    If the data set is not here, there are none, and a note on the page says why.
    """
    problems = [*notes]
    inputs = None
    try:
        inputs = held_out_pictures(run, pictures) if pictures else None
    except (DataError, ConfigError) as error:
        problems.append(f"No histograms of activations, as the data of the run cannot be read: {error}")
    best = None
    try:
        best = best_epoch(run)
    except CheckpointError as error:
        problems.append(f"The best epoch is not known: {error}")
    if run.result is None:
        problems.append("The run has not finished: there is no report.json, and the checkpoint is shown.")
    return content_of(
        run.model,
        title=_title(run),
        inputs=inputs,
        epochs=run.history,
        timings=timings,
        best=None if best is None else best.position,
        facts=facts_of(_result_of_best(run)) if run.is_best else facts_of(run.result or {}, best),
        config=json.dumps(run.checkpoint.config, indent=2, sort_keys=True),
        notes=problems,
    )


def best_epoch(run: TrainedRun) -> BestEpoch | None:
    """The epoch that `best.pt` beside the checkpoint of `run` holds; None if there is no such file.

    The file itself is asked, as the best epoch of the history may be lost.
    Raises CheckpointError if it cannot be read, or if another run has left it.
    """
    last = checkpoint_path(run.folder)
    path, history = best_path(last), run.history
    if not path.is_file():
        return None
    kept = history if path.samefile(last) else load_checkpoint(path).history
    if not kept or len(kept) > len(history) or not _is_same_epoch(kept[-1], history[len(kept) - 1]):
        raise CheckpointError(f"{path} does not belong to this run, whose checkpoint has other epochs.")
    return BestEpoch(len(kept) - 1, kept[-1][config_of(run.checkpoint, last).best_by])


def _is_same_epoch(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records are of one epoch of one run; no two have taken exactly the same time."""
    return all(one[key] == other[key] for key in ("phase", "epoch", "seconds"))


def held_out_pictures(run: TrainedRun, limit: int) -> Tensor:
    """Up to `limit` held-out pictures of the data set of `run`, as inputs ``(n, c, h, w)``.

    Raises DataError if they cannot be read.
    """
    config = config_of(run.checkpoint, checkpoint_path(run.folder))
    x, _ = Subject(with_kept_preprocessing(config, run.checkpoint.data)).data.samples(limit)
    return x.cpu()


def facts_of(result: Mapping[str, Any], best: BestEpoch | None = None) -> dict[str, str]:
    """What `report.json` says about accuracy, and the accuracy of `best`, as short texts by name."""
    found = result.get("accuracy") or {}
    facts = {
        "held-out accuracy": _percent(found.get("final")),
        **({} if best is None else {f"best.pt, of epoch {best.position + 1}": _percent(best.accuracy)}),
        "full precision, before": _percent(found.get("full_precision")),
        "averaged network": _percent((result.get("ema") or {}).get("accuracy")),
    }
    for section, name in _RUNTIMES.items():
        facts[f"accuracy in {name}"] = _percent((result.get(section) or {}).get("accuracy"))
    facts["data"] = str(result.get("data") or "")
    if seconds := result.get("training_seconds"):
        facts["training"] = f"{seconds / 60:.1f} min" if seconds >= 100 else f"{seconds:.0f} s"
    return {name: value for name, value in facts.items() if value}


def _title(run: TrainedRun) -> str:
    """The name of the run and of its model, and the epoch if that is not the last one."""
    title = f"{run.folder.resolve().name}: {type(run.model).__name__}"
    return f"{title}, best epoch: {run.checkpoint.epoch + 1}" if run.is_best else title


def _result_of_best(run: TrainedRun) -> dict[str, Any]:
    """What `report.json` would say about the best epoch; only the last one was run in other runtimes."""
    result, record = run.result or {}, run.checkpoint.history[-1]
    before = (result.get("accuracy") or {}).get("full_precision")
    return {
        "accuracy": {"final": record["test_accuracy"], "full_precision": before},
        "ema": {"accuracy": record.get("average_accuracy")},
        **{key: result[key] for key in ("data", "training_seconds") if key in result},
    }


def _percent(value: object) -> str:
    return f"{value:.2f} %" if isinstance(value, (int, float)) else ""


def _result(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "report.json"
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path} is not JSON: {error}. Run `fxbin train` again, which rewrites it."
        ) from error
    if not isinstance(result, dict):
        raise DataError(f"{path} holds a {type(result).__name__}, expected the report of a run.")
    return result
