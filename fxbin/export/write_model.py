"""An ONNX model becomes a file, or two."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fxbin.errors import ExportError

if TYPE_CHECKING:
    import onnx

MAX_FILE_SIZE = 2**31 - 1
"""Protobuf's limit for one message, which is one file."""

SMALLEST_EXTERNAL = 1024
"""Bytes: smaller tensors stay in the file itself, where tools read shapes and limits from."""


def write_model(proto: "onnx.ModelProto", path: Path, external_data: bool | None) -> int:
    """Check `proto` and write it to `path`; return the bytes written.

    With `external_data`, or None and more than fits into one file, its tensors go to a second one, whose
    name is that of the first with ``.data`` behind it. Files that are there are replaced when all is written.
    ExportError if ONNX's own checker refuses the model.
    """
    import onnx

    if external_data is None:
        external_data = proto.ByteSize() > MAX_FILE_SIZE
    data = path.with_name(f"{path.name}.data")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as name:
        file = Path(name) / path.name
        if external_data:
            onnx.save_model(
                proto,
                file,
                save_as_external_data=True,
                location=data.name,
                size_threshold=SMALLEST_EXTERNAL,
            )
            _check(file)
        else:
            _check(proto)
            file.write_bytes(proto.SerializeToString())
        size = sum(part.stat().st_size for part in Path(name).iterdir())
        # The data first: there is no moment at which the graph has none.
        for part in sorted(Path(name).iterdir(), reverse=True):
            part.replace(path.with_name(part.name))
    return size


def _check(model: "onnx.ModelProto | Path") -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"model: what PyTorch's exporter makes of it is no valid ONNX: {str(error).strip()}"
        ) from error
