"""fxbin's export of an NNCF checkpoint computes what NNCF's own export of it computes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.inliner import inline_local_functions

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.export.fake_quantize import fake_quantize_function
from fxbin.openvino.verify import FULL_FLOAT
from fxbin.openvino_worker.layer_types import layer_types
from tests.tiny_resnet import TinyResNet
from tests.zoo import DATA

MODES = ("xnor", "dorefa")
X = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def loaded(mode: str) -> BinarizedModule:
    recorded = torch.load(DATA / f"nncf_tiny_{mode}_plain.pth", weights_only=True)
    model = fxbin.transform(TinyResNet(), recorded["config"])
    fxbin.load_nncf_checkpoint(model, DATA / f"nncf_tiny_{mode}.pth")
    return model.eval()


def in_openvino(path: Path) -> tuple[NDArray[np.float32], int]:
    """Outputs for `X`, one sample after the other, and how many convolutions ran in 1 bit."""
    compiled = openvino.Core().compile_model(path, "CPU", FULL_FLOAT)
    outputs = [np.array(compiled([x[None].numpy()])[0]) for x in X]
    return np.concatenate(outputs), layer_types(compiled).count("BinaryConvolution")


def in_standard_operators(path: Path, target: Path) -> Path:
    """The file with its FakeQuantize nodes spelled out, so that OpenVINO computes in float."""
    model = onnx.load(path)
    for attribute in (node.attribute[0] for node in model.graph.node if node.op_type == "Constant"):
        if attribute.t.data_type == TensorProto.INT64:
            value = numpy_helper.to_array(attribute.t)
            if value.ndim == 4:  # a limit or a level: NNCF writes those that are 0 as integers
                attribute.t.CopyFrom(numpy_helper.from_array(value.astype(np.float32)))
    (opset,) = (entry.version for entry in model.opset_import if not entry.domain)
    model.functions.append(fake_quantize_function(opset))
    onnx.save(inline_local_functions(model), target)
    return target


@pytest.mark.parametrize("mode", MODES)
def test_both_files_compute_the_same(mode: str, tmp_path: Path) -> None:
    fxbin.export_onnx(loaded(mode), tmp_path / "fxbin.onnx")
    ours, one_bit = in_openvino(tmp_path / "fxbin.onnx")
    theirs, _ = in_openvino(in_standard_operators(DATA / f"nncf_tiny_{mode}.onnx", tmp_path / "nncf.onnx"))
    assert one_bit == 8
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.skipif(not openvino.get_version().startswith("2026.4.1"), reason="of this version only")
@pytest.mark.parametrize("mode", MODES)
def test_nncfs_own_file_runs_in_one_bit_with_wrong_numbers(mode: str, tmp_path: Path) -> None:
    """It has convolutions with 12 and 20 input channels, no multiples of 8. fxbin adds channels of zeros."""
    own, one_bit = in_openvino(DATA / f"nncf_tiny_{mode}.onnx")
    right, _ = in_openvino(in_standard_operators(DATA / f"nncf_tiny_{mode}.onnx", tmp_path / "nncf.onnx"))
    assert one_bit == 8
    assert np.abs(own - right).max() > 0.05


@pytest.mark.parametrize("mode", MODES)
def test_the_loaded_model_is_verified(mode: str) -> None:
    options: dict[str, Any] = {"inputs": [x[None] for x in X]}
    report = fxbin.openvino.verify(loaded(mode), **options)
    assert (report.promised, report.found) == (8, 8)
