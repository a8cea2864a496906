"""Runs a graph once on the example inputs, to record shapes, dtypes and constant weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from fxbin.binarizers import WeightBinarizer
from fxbin.errors import ExportError
from fxbin.graph.call_site import CallSite, binarized_call_sites, called_binarizer
from fxbin.lowering.conv_shapes import ConvShapes
from fxbin.lowering.sum_fusion import ends_in_fused_sum

ERRORS_OF_A_RUN = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that code raises if its inputs do not fit."""


@dataclass(frozen=True)
class Record:
    """The shapes, dtypes and weights of one run."""

    shapes: dict[fx.Node, ConvShapes] = field(default_factory=dict)
    """Shapes of each call site with a binarizer, by ``conv2d`` node."""

    operands: dict[fx.Node, tuple[tuple[int, ...], torch.dtype]] = field(default_factory=dict)
    """Shape and dtype of the input of each binarizer, by its node."""

    weights: dict[fx.Node, Tensor] = field(default_factory=dict)
    """Input of each weight binarizer, by its node, if it does not depend on the input of the model."""


def record_run(module: fx.GraphModule, inputs: Sequence[Any]) -> Record:
    """Run `module` once on `inputs`. Raises ExportError if that fails."""
    recorder = _Recorder(module)
    try:
        with torch.no_grad():
            recorder.run(*inputs)
    except ERRORS_OF_A_RUN as error:
        raise ExportError(does_not_run(inputs, error)) from error
    return recorder.record


def does_not_run(inputs: Sequence[Any], error: Exception) -> str:
    """Return the message for `error`, which a run on `inputs` has raised."""
    given = [f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else repr(x) for x in inputs]
    return (
        f"example_inputs: the model does not run on the inputs {', '.join(given)}: "
        f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
    )


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.graph_module = module
        self.sites = {site.node: site for site in binarized_call_sites(module, module.graph)}
        self.varying = _depends_on_inputs(module.graph)
        self.record = Record()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        binarizer = called_binarizer(self.graph_module, n)
        if binarizer is not None:
            operand = self.env[n.all_input_nodes[0]]
            self.record.operands[n] = (tuple(operand.shape), operand.dtype)
            if isinstance(binarizer, WeightBinarizer) and n not in self.varying:
                self.record.weights[n] = operand.detach()
        if n in self.sites:
            site = self.sites[n]
            x = self.env[site.x]
            self.record.shapes[n] = ConvShapes(
                x=tuple(x.shape),
                y=tuple(result.shape),
                dtype=x.dtype,
                weight=self.record.weights.get(site.w),
                after_sum=self._is_after_sum(site),
            )
        return result

    def _is_after_sum(self, site: CallSite) -> bool:
        if site.activation is None:
            return False
        return ends_in_fused_sum(self.graph_module, site.raw_x, self.varying)


def _depends_on_inputs(graph: fx.Graph) -> set[fx.Node]:
    varying: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(source in varying for source in node.all_input_nodes):
            varying.add(node)
    return varying
