"""Provides a model, or the file of one, as a file that OpenVINO reads."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from fxbin.errors import ExportError
from fxbin.export import export_onnx
from fxbin.export.file_record import read_record
from fxbin.export.packages import require
from fxbin.verification.model_file import checked_path

SUFFIXES = (".onnx", ".xml")
"""Suffixes of files that OpenVINO reads."""

FOR_ONNXRUNTIME = (
    'it was written with operators="fxbin" (fxbin export --operators fxbin), which OpenVINO does not run. '
    "Export it without that option for OpenVINO"
)

Source = nn.Module | str | os.PathLike[str]
"""A transformed model, or the path of an ONNX file or of OpenVINO's own format."""


@contextmanager
def as_file(source: Source, example_inputs: tuple[Any, ...] | None) -> Iterator[Path]:
    """The path `source`, or that of a temporary ONNX file if `source` is a model.

    Raises ExportError if the file does not exist or lacks what fxbin wrote into it, or if the model cannot be
    exported.
    """
    if isinstance(source, nn.Module):
        with tempfile.TemporaryDirectory(prefix="fxbin-openvino-") as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(source, path, example_inputs)
            yield path
        return
    if not isinstance(source, str | os.PathLike):
        raise ExportError(
            f"expected a model that fxbin.transform returned, or a path; got {type(source).__name__}"
        )
    path = checked_path(Path(source), SUFFIXES)
    if path.suffix == ".onnx":
        require("onnx", extra="onnx")
        record = read_record(path)
        if record is not None and record.operators == "fxbin":
            raise ExportError(f"{path}: {FOR_ONNXRUNTIME}")
        if record is not None and record.lost:
            raise ExportError(f"{path}: {record.lost}")
    yield path
