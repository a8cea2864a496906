"""onnxruntime's own quantizer on an exported file: the results in docs/deployment.md."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from fxbin.binarized.module import BinarizedModule
from fxbin.export import export_onnx
from fxbin.export.file_record import FileRecord, read_record
from tests.export.conftest import X, in_openvino

pytest.importorskip("sympy")  # which the quantizer needs
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

CLASSIFIER = ["MatMul", "Gemm"]

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")


class Samples(CalibrationDataReader):  # type: ignore[misc]  # a class without types
    """One sample."""

    def __init__(self) -> None:
        self.samples: Iterator[dict[str, NDArray[Any]]] = iter([{"input": X.numpy()}])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.samples, None)


def difference(path: Path, model: BinarizedModule) -> float:
    """Of onnxruntime and PyTorch, of outputs up to about 1."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": X.numpy()})[0]
    return float(np.abs(found - model(X).detach().numpy()).max())


def test_quantize_dynamic_stops_at_a_binarized_convolution(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to be an initializer"):
        quantize_dynamic(path, tmp_path / "int8.onnx")


@needs_openvino
@pytest.mark.parametrize("static", [False, True])
def test_the_classifier_alone_can_be_in_int8(
    path: Path, model: BinarizedModule, tmp_path: Path, static: bool
) -> None:
    int8 = tmp_path / "int8.onnx"
    if static:
        quantize_static(path, int8, Samples(), op_types_to_quantize=CLASSIFIER)
    else:
        quantize_dynamic(path, int8, op_types_to_quantize=CLASSIFIER)
    assert read_record(int8) == FileRecord("openvino", calls=4, lost="")
    assert 1e-6 < difference(int8, model) < 0.05
    assert in_openvino(int8, X)[1] == 2


@needs_openvino
def test_quantize_static_writes_what_openvino_refuses(
    path: Path, model: BinarizedModule, tmp_path: Path
) -> None:
    quantize_static(path, tmp_path / "int8.onnx", Samples())
    assert difference(tmp_path / "int8.onnx", model) < 0.2
    with pytest.raises(RuntimeError, match="FakeQuantize"):
        in_openvino(tmp_path / "int8.onnx", X)


def test_a_file_in_standard_operators_with_float_weights_is_quantized(
    model: BinarizedModule, tmp_path: Path
) -> None:
    export_onnx(model, tmp_path / "model.onnx", operators="standard", weights="float")
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "dynamic.onnx")
    quantize_static(tmp_path / "model.onnx", tmp_path / "static.onnx", Samples())
    for kind in ("dynamic", "static"):
        assert difference(tmp_path / f"{kind}.onnx", model) < 0.2
