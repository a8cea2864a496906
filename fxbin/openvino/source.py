"""A model or a file of one, as a file that OpenVINO reads."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import fx

from fxbin.errors import ExportError
from fxbin.export import export_onnx
from fxbin.runtimes.model_file import checked_path

SUFFIXES = (".onnx", ".xml")

Source = fx.GraphModule | str | os.PathLike[str]
"""A transformed model, or the path of an ONNX file or of OpenVINO's own format."""


@contextmanager
def as_file(source: Source, example_inputs: tuple[Any, ...] | None) -> Iterator[Path]:
    """The file that `source` names, or a temporary ONNX file of the model that it is.

    ExportError if there is no such file, or the model cannot be exported.
    """
    if isinstance(source, fx.GraphModule):
        with tempfile.TemporaryDirectory(prefix="fxbin-openvino-") as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(source, path, example_inputs)
            yield path
        return
    if not isinstance(source, str | os.PathLike):
        raise ExportError(
            f"expected a model that fxbin.transform returned, or a path; got {type(source).__name__}"
        )
    yield checked_path(Path(source), SUFFIXES)
