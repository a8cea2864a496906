"""Turns a lowered graph into an ONNX model with PyTorch's exporter."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.fx import traceback as fx_traceback

from fxbin import torch_private
from fxbin.errors import ExportError
from fxbin.export.fake_quantize import SCOPE
from fxbin.export.file_names import ONLY_TENSORS
from fxbin.graph.node_info import node_name
from fxbin.lowering.inputs import BoundInputs, with_batches

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram


def capture_onnx(
    module: fx.GraphModule, inputs: BoundInputs, *, opset: int, dynamic_batch: bool
) -> tuple["onnx.ModelProto", dict[str, str]]:
    """Export `module`; return the ONNX model, and the hierarchical names of nodes of the exported program.

    Raises ExportError if PyTorch's exporter cannot export the graph.
    """
    for node in module.graph.nodes:
        # The only key for users that torch.export copies to the nodes it creates.
        node.meta["custom"] = {SCOPE: node_name(node)}
    runner = _ScopedRun(module, inputs).eval()
    tensors, dynamic_shapes = inputs.tensors, None
    if dynamic_batch:
        tensors = with_batches(inputs).tensors
        batch = torch.export.Dim("batch")
        dynamic_shapes = {"tensors": tuple({0: batch} if x.dim() else None for x in tensors)}
    with _quiet():
        try:
            program = torch.onnx.export(
                runner,
                tensors,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                dynamic_shapes=dynamic_shapes,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(_explain(error, dynamic_batch)) from error
    assert program is not None
    assert program.exported_program is not None
    return program.model_proto, _scopes(program.exported_program)


class _ScopedRun(nn.Module):
    """Runs a graph node by node, so that the exported nodes of each carry its hierarchical name."""

    def __init__(self, module: fx.GraphModule, inputs: BoundInputs) -> None:
        super().__init__()
        self.model = module
        self.inputs = inputs

    def forward(self, *tensors: Tensor) -> Any:
        with fx_traceback.preserve_node_meta():
            return fx.Interpreter(self.model).run(*self.inputs.with_tensors(tensors))


def _scopes(program: "ExportedProgram") -> dict[str, str]:
    found = {node.name: node.meta.get("custom", {}).get(SCOPE) for node in program.graph.nodes}
    return {name: scope for name, scope in found.items() if scope is not None}


def _explain(error: Exception, dynamic_batch: bool) -> str:
    cause = error.__cause__ or error
    if torch_private.NUMBER_RETURNED in str(cause):
        return f"model: it returns a number that it computes besides its tensors, {ONLY_TENSORS}"
    lines = [line for line in str(cause).splitlines() if line.strip()]
    hint = (
        " With dynamic_batch=True no part of the model may depend on the batch size." if dynamic_batch else ""
    )
    return f"PyTorch's ONNX exporter stopped: {type(cause).__name__}: {lines[0] if lines else ''}.{hint}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide messages of the exporter about its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # torch.export deep-copies objects of a class that PyTorch itself has deprecated.
            warnings.filterwarnings("ignore", torch_private.LEAF_SPEC, FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
