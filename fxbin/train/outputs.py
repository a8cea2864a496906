"""The output files of a run: curves, graph, ONNX and report; a note tells of each that cannot be made."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from graphviz import FORMATS, Digraph
from torch import Tensor

from fxbin.atomic_write import replace_file
from fxbin.drawing.dot import to_dot
from fxbin.errors import DataError, ExportError
from fxbin.export import ExportMode, export_onnx
from fxbin.report.summarize import summary
from fxbin.train.best import best_of, best_path
from fxbin.train.curves import draw_curves
from fxbin.train.data.included import kept_of_included
from fxbin.train.data.kept import metadata_of
from fxbin.train.early_stop import why_stopped
from fxbin.train.engine_check import EngineCheck, check_engine
from fxbin.train.epoch import accuracy, predict_as_it_is
from fxbin.train.evaluation import evaluate_as_it_is
from fxbin.train.onnx_check import check_onnx, why_unavailable
from fxbin.train.openvino_check import OpenVINOCheck, check_openvino, why_no_openvino
from fxbin.train.output_folder import explained
from fxbin.train.predictions import ComparedPredictions
from fxbin.train.progress import TrainingProgress
from fxbin.train.report import accuracies, versions, write_report
from fxbin.train.run import Trained

SOURCES = {".dot", ".gv"}
"""Suffixes of files in Graphviz's own language."""


def write_outputs(trained: Trained, output: Path, progress: TrainingProgress) -> dict[str, Any]:
    """Write all files except the checkpoint, which exists already; return the content of `report.json`.

    Raises CheckpointError if a file cannot be written.
    """
    with explained(output, "The checkpoint of the last epoch is kept."):
        return _write_outputs(trained, output, progress)


def _write_outputs(trained: Trained, output: Path, progress: TrainingProgress) -> dict[str, Any]:
    # The network itself, not a deployed form, which is compared with it.
    x, labels = trained.data.samples()
    with torch.no_grad():
        logits = predict_as_it_is(trained.model, x)
    final = accuracy_of(trained, logits, labels)
    write_curves(trained, output / "curves.svg", progress)
    write_graph(trained, output, progress)
    check = write_onnx(trained, logits, output / "model.onnx", progress)
    verified = verify_onnx(trained, logits, output / "model.onnx", progress) if check else None
    engine = run_in_engine(trained, logits, progress)
    average = write_average(trained, output / "model_ema.onnx", progress)
    report = {
        "data": trained.data.name,
        "images": {"train": trained.data.training_pictures, "held_out": trained.data.held_out_pictures},
        "accuracy": accuracies(trained.history, final, check.accuracy if check else None),
        "onnx": check.to_dict() if check else None,
        "engine": engine.to_dict() if engine else None,
        "openvino": verified.to_dict() if verified else None,
        "best": best_epoch(trained, output, progress),
        "stopped_early": why_stopped(trained.config, trained.history),
        "network": summary(trained.model).to_dict(),
        "history": [record.to_dict() for record in trained.history],
        "training_seconds": round(trained.seconds, 1),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        **({"ema": average} if average is not None else {}),
    }
    write_report(report, output / "report.json")
    progress.note(f"wrote {output / 'report.json'}")
    return report


def accuracy_of(trained: Trained, logits: Tensor, labels: Tensor) -> float:
    """Held-out accuracy of the network, which gives `logits` for the samples with these `labels`."""
    if len(labels) == trained.data.held_out_pictures:
        return accuracy(logits, labels)
    return evaluate_as_it_is(trained.model, trained.data)


def best_epoch(trained: Trained, output: Path, progress: TrainingProgress) -> dict[str, Any] | None:
    """The epoch of the final stage that `best.pt` holds; None if no epoch was fully binarized."""
    best, path = best_of(trained.config, trained.history), best_path(output / "checkpoint.pt")
    if best is None or not path.is_file():
        return None
    by = trained.config.best_by
    progress.note(f"{path} is the best epoch of the final stage: {best.epoch + 1}, {getattr(best, by):.2f} %")
    return {"epoch": best.epoch, "by": by, by: getattr(best, by)}


def write_average(trained: Trained, path: Path, progress: TrainingProgress) -> dict[str, Any] | None:
    """Write the network with averaged parameters to `path`, and verify it as the other; None without one."""
    if trained.average is None:
        return None
    averaged = replace(trained, model=trained.average)
    x, labels = trained.data.samples()
    with torch.no_grad():
        logits = predict_as_it_is(averaged.model, x)
    check = write_onnx(averaged, logits, path, progress)
    verified = verify_onnx(averaged, logits, path, progress) if check else None
    return {
        "accuracy": accuracy_of(averaged, logits, labels),
        "onnx": check.to_dict() if check else None,
        "openvino": verified.to_dict() if verified else None,
    }


def write_curves(trained: Trained, path: Path, progress: TrainingProgress) -> None:
    """Write `curves.svg` to `path`, if matplotlib is installed."""
    try:
        draw_curves(trained.history, path)
    except DataError as error:
        progress.note(f"no {path}: {error}")
    else:
        progress.note(f"wrote {path}")


def write_graph(trained: Trained, output: Path, progress: TrainingProgress) -> None:
    """Write `graph.dot`, and `graph.svg` if Graphviz's program `dot` is installed."""
    graph = to_dot(trained.model)
    for name in ("graph.dot", "graph.svg"):
        try:
            save_graph(graph, output / name)
        except ExportError as error:
            progress.note(f"no {error}")
        else:
            progress.note(f"wrote {output / name}")


def save_graph(graph: Digraph, path: Path) -> None:
    """Write `graph` in the format that the suffix of `path` names; ``.dot`` is its source.

    Raises ExportError as `check_graph_path` does.
    """
    check_graph_path(path)
    replace_file(path, graph.source if path.suffix in SOURCES else graph.pipe(format=path.suffix[1:]))


def check_graph_path(path: Path) -> None:
    """Raise ExportError if the suffix of `path` is not a format, or needs Graphviz and that is missing."""
    if path.suffix in SOURCES:
        return
    if path.suffix[1:] not in FORMATS:
        raise ExportError(f"{path}: expected a name that ends in .dot or one of .svg, .pdf, .png.")
    if shutil.which("dot") is None:
        raise ExportError(f"{path}: Graphviz's program `dot` is not installed (`apt install graphviz`)")


def run_in_engine(trained: Trained, logits: Tensor, progress: TrainingProgress) -> EngineCheck | None:
    """Run the network in the 1-bit engine and compare it with `logits`; None if it cannot be deployed."""
    try:
        checked = check_engine(trained.model, *trained.data.samples(), logits)
    except ExportError as error:
        progress.note(f"not run in the 1-bit engine: {error}")
        return None
    progress.note(f"ran the deployed network: {checked.one_bit} of {checked.binarized} convolutions in 1 bit")
    return checked


def write_onnx(
    trained: Trained, logits: Tensor, path: Path, progress: TrainingProgress
) -> ComparedPredictions | None:
    """Write `model.onnx` and compare it with PyTorch's `logits`; None if packages are missing."""
    reason = why_unavailable()
    if reason is not None:
        progress.note(f"no {path}: {reason}")
        return None
    kept = trained.data.kept() or kept_of_included(trained.config)
    exported = export_onnx(trained.model, path, metadata=metadata_of(kept))
    modes = ", ".join(f"{exported.count(mode)} in {mode}" for mode in ExportMode if exported.count(mode))
    progress.note(f"wrote {path} ({exported.size / 1024:.0f} KiB; call sites: {modes})")
    return check_onnx(path, *trained.data.samples(), logits)


def verify_onnx(
    trained: Trained, logits: Tensor, path: Path, progress: TrainingProgress
) -> OpenVINOCheck | None:
    """Run `model.onnx` in OpenVINO and compare it with PyTorch's `logits`; None if it is not installed.

    Raises VerificationError as `check_openvino` does.
    """
    reason = why_no_openvino()
    if reason is not None:
        progress.note(f"{path} not verified in OpenVINO, the runtime with 1-bit kernels: {reason}")
        return None
    checked = check_openvino(trained.model, path, *trained.data.samples(), logits)
    progress.note(f"verified {path} in OpenVINO: {checked.one_bit} of {checked.promised} in 1 bit")
    return checked
