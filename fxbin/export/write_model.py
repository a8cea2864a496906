"""Writes an ONNX model to one file, or to two."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fxbin.atomic_write import replace_file
from fxbin.errors import ExportError
from fxbin.export.output_file import explained_writing

if TYPE_CHECKING:
    import onnx

MAX_FILE_SIZE = 2**31 - 1
"""Protobuf's limit for one message, and so for one file, in bytes."""

SMALLEST_EXTERNAL = 1024
"""Size in bytes below which tensors stay in the file itself, where tools read shapes and limits."""


def write_model(proto: "onnx.ModelProto", path: Path, external_data: bool | None) -> int:
    """Check `proto` and write it to `path`; return the number of bytes written.

    With `external_data`, or if that is None and the model is too large for one file, its tensors are written
    to a second file, named like the first with ``.data`` appended. Existing files are replaced at the end.
    Raises ExportError if ONNX's own checker rejects the model, or a file cannot be written.
    """
    with explained_writing(path, "path"):
        return _write_model(proto, path, external_data)


def _write_model(proto: "onnx.ModelProto", path: Path, external_data: bool | None) -> int:

    if external_data is None:
        external_data = proto.ByteSize() > MAX_FILE_SIZE
    if external_data:
        return _write_with_data(proto, path)
    _check(proto)
    content = proto.SerializeToString()
    replace_file(path, content)
    return len(content)


def _write_with_data(proto: "onnx.ModelProto", path: Path) -> int:
    import onnx

    data = path.with_name(f"{path.name}.data")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as name:
        file = Path(name) / path.name
        onnx.save_model(
            proto,
            file,
            save_as_external_data=True,
            location=data.name,
            size_threshold=SMALLEST_EXTERNAL,
        )
        _check(file)
        size = sum(part.stat().st_size for part in Path(name).iterdir())
        # The data is moved first, so that the graph is never without it.
        for part in sorted(Path(name).iterdir(), reverse=True):
            part.replace(path.with_name(part.name))
    return size


def _check(model: "onnx.ModelProto | Path") -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"model: what PyTorch's exporter wrote for it is not valid ONNX: {str(error).strip()}"
        ) from error
