"""Turns convolutions and linear layers that are not binarized into int8 layers."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from typing_extensions import override

from fxbin.deployment.deployed_module import Int8Site
from fxbin.deployment.graph_facts import called, calls_plain, is_relu, layers_read_by_code, only_user
from fxbin.deployment.int8_layers import (
    Int8Conv2d,
    Int8Linear,
    Range,
    is_pooled_as_bytes,
    symmetric_padding,
)
from fxbin.errors import EngineError, ExportError
from fxbin.lowering.inputs import BoundInputs, bind_inputs

Samples = Iterable[Tensor | tuple[Any, ...]]
"""Positional inputs of one forward for each sample; a tensor stands for a single input."""

_WEIGHTED_FUNCTIONS: tuple[Any, ...] = (
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
    F.linear, F.bilinear,
)  # fmt: skip
_LOOK_UPS = (nn.Embedding, nn.EmbeddingBag)


def quantize_rest(module: fx.GraphModule, calibration: Samples, example: BoundInputs) -> tuple[Int8Site, ...]:
    """Replace layers of `module`, which is in eval mode, in place; return the result for each one.

        before:  x -> Conv2d or Linear -> MaxPool2d -> ReLU
        after:   x -> Int8Conv2d or Int8Linear

    Pooling and ReLU become part of a layer if nothing else reads their input. The range of an input covers
    its values for all samples. Raises ExportError if a sample does not fit the model or has values that give
    no range; `example` are inputs that fit.
    """
    read_by_code = layers_read_by_code(module)
    reasons = {node: _why_in_float(module, node, read_by_code) for node in _layers(module)}
    followed = [_followers(module, node) for node, reason in reasons.items() if reason is None]
    ranges = _Ranges(module, followed, example)
    ranges.observe(calibration)
    reasons |= {each.layer: ranges.why_unknown(each) for each in followed}
    for each in followed:
        if reasons[each.layer] is None:
            _replace(module, each, ranges)
    names = {node: str(node.target) if node.op == "call_module" else node.name for node in reasons}
    return tuple(dict.fromkeys(Int8Site(names[node], reason or "") for node, reason in reasons.items()))


@dataclass(frozen=True)
class _Followed:
    """The nodes that become one int8 layer."""

    layer: fx.Node
    pool: fx.Node | None
    relu: fx.Node | None

    @property
    def last(self) -> fx.Node:
        """The last of these nodes, whose value is read elsewhere."""
        return self.relu or self.pool or self.layer


def _followers(module: fx.GraphModule, node: fx.Node) -> _Followed:
    """Return `node`, which calls a convolution or a linear layer, with what can become part of it."""
    if len(module.graph.find_nodes(op="call_module", target=node.target)) > 1:
        return _Followed(node, None, None)
    pool = only_user(node) if isinstance(called(module, node), nn.Conv2d) else None
    if pool is not None and not (
        calls_plain(module, pool, nn.MaxPool2d) and is_pooled_as_bytes(called(module, pool))
    ):
        pool = None
    relu = only_user(pool or node)
    return _Followed(node, pool, relu if relu is not None and is_relu(module, relu) else None)


def _layers(module: fx.GraphModule) -> list[fx.Node]:
    """Return the calls of layers and functions with a weight, in execution order."""
    return [node for node in module.graph.nodes if _has_weight(module, node)]


def _has_weight(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _WEIGHTED_FUNCTIONS
    layer = called(module, node)
    if layer is None or isinstance(layer, _LOOK_UPS):
        return False
    return any(weight.dim() > 1 for weight in layer.parameters())


def _why_in_float(module: fx.GraphModule, node: fx.Node, read_by_code: Collection[nn.Module]) -> str | None:
    """Why the layer that `node` calls stays in float; None if it can become int8."""
    layer = called(module, node)
    if layer is None:
        return "it is a function, not a layer"
    if type(layer) not in (nn.Conv2d, nn.Linear):
        return f"{type(layer).__name__} is neither nn.Conv2d nor nn.Linear"
    if not calls_plain(module, node, nn.Conv2d, nn.Linear):
        return "it has a hook, or code that is not that of its class"
    if layer in read_by_code:
        return "other code reads its weight or bias"
    assert isinstance(layer.weight, Tensor)
    if layer.weight.dtype != torch.float32:
        return f"its weight is {layer.weight.dtype}"
    if isinstance(layer, nn.Conv2d) and symmetric_padding(layer) is None:
        return "its padding differs between sides, or is not zeros"
    return None


class _Ranges(fx.Interpreter):
    """Runs a module, and records the ranges of inputs and outputs of some of its layers."""

    def __init__(self, module: fx.GraphModule, layers: Iterable[_Followed], example: BoundInputs) -> None:
        super().__init__(module)
        self._example = example
        self._layers = {each.layer for each in layers}
        self._last = {each.last for each in layers}
        self.of_inputs: dict[str, Range] = {}
        """Range of the input of a layer, by its target."""
        self.of_outputs: dict[fx.Node, Range] = {}
        """Range of the output, by the last node of a layer and what becomes part of it."""
        self._other_dtypes: dict[str, torch.dtype] = {}

    def observe(self, calibration: Samples) -> None:
        """Run all samples. Raises ExportError if there is none, or one does not fit or is not finite."""
        if isinstance(calibration, Tensor):
            raise ExportError("calibration: expected a list of samples, got a Tensor; write [x]")
        index = -1
        for index, sample in enumerate(calibration):
            self._observe_sample(index, sample)
        if index < 0:
            raise ExportError("calibration: expected samples, got none; leave it out to keep float32")

    def _observe_sample(self, index: int, sample: Tensor | tuple[Any, ...]) -> None:
        try:
            bound = bind_inputs(self.graph, sample if isinstance(sample, tuple) else (sample,), {})
        except ExportError as error:
            problem = str(error).removeprefix("example_inputs: ")
            raise ExportError(f"calibration: sample {index}: {problem}") from error
        if not bound.tensors:
            raise ExportError(
                f"calibration: sample {index} is a {type(sample).__name__} without tensors; expected a "
                "tensor or a tuple of positional inputs"
            )
        try:
            self.run(*bound.with_tensors([self._prepared(x, index) for x in bound.tensors]))
        except (RuntimeError, ValueError, TypeError, IndexError, EngineError) as error:
            raise ExportError(
                f"calibration: sample {index}: the model does not run on {_described(bound)}; expected "
                f"inputs like {_described(self._example)}, those the model is deployed with: "
                f"{str(error).partition(chr(10))[0]}"
            ) from error

    def _prepared(self, x: Tensor, index: int) -> Tensor:
        """Return a copy on the device of the model, because the model may write to it."""
        if not x.isfinite().all():
            raise ExportError(
                f"calibration: sample {index} has NaN or infinite values, which give no int8 range; "
                "leave it out"
            )
        state = next(iter((*self.module.parameters(), *self.module.buffers())), x)
        return x.to(state.device, copy=True)

    @override
    def run_node(self, n: fx.Node) -> Any:
        if n in self._layers:
            # Read now, because the model may write to x before and after this node.
            x, target = self.env[_input_of(n)], str(n.target)
            if x.dtype != torch.float32:
                self._other_dtypes[target] = x.dtype
            self.of_inputs[target] = _widened(self.of_inputs.get(target), x)
        y = super().run_node(n)
        if n in self._last:
            self.of_outputs[n] = _widened(self.of_outputs.get(n), y)
        return y

    def why_unknown(self, layer: _Followed) -> str | None:
        """Why no int8 layer can replace `layer`; None if one can."""
        target = str(layer.layer.target)
        if target in self._other_dtypes:
            return f"its input is {self._other_dtypes[target]}"
        bounds = *self.of_inputs[target], *self.of_outputs[layer.last]
        is_known = all(map(math.isfinite, bounds))
        return None if is_known else "in the calibration, it had no numbers, or infinite ones, or NaN"


def _described(inputs: BoundInputs) -> str:
    """Return dtypes and shapes: ``x torch.float32 (1, 3, 8, 8)``."""
    named = zip(inputs.names, inputs.tensors, strict=True)
    return ", ".join(f"{name} {x.dtype} {tuple(x.shape)}" for name, x in named)


def _widened(known: Range | None, x: Tensor) -> Range:
    """Return the range that covers `x` and the range `known`."""
    least, most = known or (math.inf, -math.inf)
    if x.numel() == 0:
        return least, most
    # NaN stays NaN.
    new = torch.stack([*x.aminmax()]).double()
    bounds = torch.stack([new[0].minimum(new.new_tensor(least)), new[1].maximum(new.new_tensor(most))])
    return tuple(bounds.tolist())


def _input_of(node: fx.Node) -> fx.Node:
    """Return the input of the layer that `node` calls."""
    x = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(x, fx.Node)
    return x


def _replace(module: fx.GraphModule, nodes: _Followed, ranges: _Ranges) -> None:
    """Replace `nodes` by an int8 layer."""
    node, target = nodes.layer, str(nodes.layer.target)
    layer, x_range = called(module, node), ranges.of_inputs[target]
    if isinstance(layer, nn.Conv2d | nn.Linear):
        int8 = Int8Conv2d(layer, x_range) if isinstance(layer, nn.Conv2d) else Int8Linear(layer, x_range)
        int8.relu = nodes.relu is not None
        pool = None if nodes.pool is None else called(module, nodes.pool)
        if isinstance(pool, nn.MaxPool2d):
            int8.set_pool(pool, ranges.of_outputs[nodes.last])
        module.set_submodule(target, int8)
    node.args, node.kwargs = (_input_of(node),), {}
    if nodes.last is not node:
        nodes.last.replace_all_uses_with(node)
    for each in (nodes.relu, nodes.pool):
        if each is not None:
            module.graph.erase_node(each)
