"""A file records what was written into it, so it is noticed if a tool has removed a part."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import compose, inliner, version_converter

from fxbin.binarized.module import BinarizedModule
from fxbin.export import export_onnx
from fxbin.export.file_record import FileRecord, read_record
from tests.export.conftest import X, in_openvino

Tool = Callable[[Path, Path], None]


def in_onnxruntime(path: Path) -> Any:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": X.numpy()})[0]


@pytest.mark.parametrize("opset", [18, 25])
def test_every_input_of_every_function_is_used(model: BinarizedModule, tmp_path: Path, opset: int) -> None:
    export_onnx(model, tmp_path / "model.onnx", opset=opset)
    (function,) = onnx.load(tmp_path / "model.onnx").functions
    used = {name for node in function.node for name in node.input}
    assert len(function.input) == 5
    assert set(function.input) <= used


def test_a_file_says_what_it_holds(path: Path, model: BinarizedModule, tmp_path: Path) -> None:
    assert read_record(path) == FileRecord("openvino", calls=4, lost="")
    export_onnx(model, tmp_path / "standard.onnx", operators="standard")
    assert read_record(tmp_path / "standard.onnx") == FileRecord("standard", calls=0, lost="")


def test_a_file_of_another_program_says_nothing(path: Path) -> None:
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    assert read_record(path) is None
    path.write_bytes(b"no model")
    assert read_record(path) is None


def convert_version(old: Path, new: Path) -> None:
    onnx.save(version_converter.convert_version(onnx.load(old), 21), new)


def inline(old: Path, new: Path) -> None:
    onnx.save(inliner.inline_local_functions(onnx.load(old)), new)


def optimize(old: Path, new: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(new)
    onnxruntime.InferenceSession(old, options, providers=["CPUExecutionProvider"])


def add_prefix(old: Path, new: Path) -> None:
    onnx.save(compose.add_prefix(onnx.load(old), "net/"), new)


def slim(old: Path, new: Path, **options: Any) -> None:
    onnxslim = pytest.importorskip("onnxslim")
    onnxslim.slim(str(old), str(new), **options)


@pytest.mark.parametrize(
    ("tool", "lost"),
    [
        (convert_version, r"calls org\.openvinotoolkit::FakeQuantize but no longer defines it.*version_conv"),
        (inline, r"The 4 nodes FakeQuantize of the file have become plain operators.*onnx\.inliner"),
        (optimize, r"The 4 nodes FakeQuantize of the file have become plain operators.*optimized_model_fi"),
        (add_prefix, r"calls its function FakeQuantize 'net/FakeQuantize' now.*rename_functions=False\)"),
        (slim, r"has 2 of its 4 nodes FakeQuantize.*onnxslim.*--skip-optimizations constant_folding"),
    ],
)
def test_what_a_tool_has_taken_is_named_with_the_way_out(
    path: Path, tmp_path: Path, tool: Tool, lost: str
) -> None:
    tool(path, tmp_path / "changed.onnx")
    record = read_record(tmp_path / "changed.onnx")
    assert record is not None
    assert (record.operators, record.calls) == ("openvino", 4)
    assert re.search(lost, record.lost)


def test_a_prefix_without_other_names_of_functions_loses_nothing(path: Path) -> None:
    proto = compose.add_prefix(onnx.load(path), "net/", rename_functions=False)
    onnx.save(proto, path)
    assert read_record(path) == FileRecord("openvino", calls=4, lost="")


def test_a_file_that_onnxslim_has_folded_is_right_in_onnxruntime(path: Path, tmp_path: Path) -> None:
    slim(path, tmp_path / "slim.onnx")
    np.testing.assert_array_equal(in_onnxruntime(tmp_path / "slim.onnx"), in_onnxruntime(path))


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
def test_onnxslim_without_constant_folding_leaves_a_file_as_it_is_for_openvino(
    path: Path, model: BinarizedModule, tmp_path: Path
) -> None:
    slim(path, tmp_path / "slim.onnx", skip_optimizations=["constant_folding"])
    assert read_record(tmp_path / "slim.onnx") == FileRecord("openvino", calls=4, lost="")
    output, one_bit = in_openvino(tmp_path / "slim.onnx", X)
    assert one_bit == 2
    np.testing.assert_allclose(output, expected(model), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(in_onnxruntime(tmp_path / "slim.onnx"), in_onnxruntime(path))


@torch.no_grad()
def expected(model: BinarizedModule) -> Any:
    return model(X).numpy()
