"""Finishes the ONNX model: packed weights, standard operators, names, the FakeQuantize function."""

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fxbin import torch_private
from fxbin.errors import ExportError
from fxbin.export import binary_conv2d, low_level
from fxbin.export.fake_quantize import DOMAIN, MODE, NAME, ROLE, SCOPE, fake_quantize_function
from fxbin.export.file_names import FileNames
from fxbin.export.file_record import write_record
from fxbin.export.packed_weights import PackedWeights
from fxbin.export.report import ExportMode, Operators, WeightStorage

if TYPE_CHECKING:
    import onnx

ROOT = "model."
"""Prefix of names in the exported module, which contains the model, see `fxbin.export.capture`."""


def finish(
    model: "onnx.ModelProto",
    scopes: Mapping[str, str],
    names: FileNames,
    *,
    opset: int,
    operators: Operators,
    weights: WeightStorage,
) -> None:
    """Turn the exported `model` into the content of a file, in place.

    FakeQuantize nodes of 1-bit call sites remain and get a definition; all others become standard operators.
    Inputs and outputs get their `names`. Nodes are named after their entry in `scopes`, which Netron shows;
    the exporter's notes about Python code, which include paths, are removed. A record of the content is
    added. Raises ExportError if operators other than the requested `operators` remain.
    """
    _name_inputs_and_outputs(model.graph, names)
    finisher = _Finisher(model, weights)
    nodes = [new for node in model.graph.node for new in finisher.expand(node, _scope(node, scopes))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    finisher.write_initializers()
    finisher.keep_types_of_computed_values()
    _rename_initializers(model)
    _name_nodes(model)
    _define_engine_operators(model, opset)
    if any(node.domain == DOMAIN for node in nodes):
        model.functions.append(fake_quantize_function(opset))
    else:
        for entry in [entry for entry in model.opset_import if entry.domain == DOMAIN]:
            model.opset_import.remove(entry)
    if operators == "standard":
        _refuse_other_operators(nodes)
    write_record(model, operators)


def _define_engine_operators(model: "onnx.ModelProto", opset: int) -> None:
    used = {node.op_type for node in model.graph.node if node.domain == binary_conv2d.DOMAIN}
    model.functions.extend(binary_conv2d.binary_conv2d_function(name, opset) for name in sorted(used))


def _refuse_other_operators(nodes: "Iterable[onnx.NodeProto]") -> None:
    for node in nodes:
        if node.domain:
            raise ExportError(
                f'operators="standard": the model itself calls {node.domain}::{node.op_type}, which is not '
                "a standard operator"
            )


class _Finisher:
    def __init__(self, model: "onnx.ModelProto", weights: WeightStorage) -> None:
        self.graph = model.graph
        self.weights = weights
        self.packed = PackedWeights()
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.levels: dict[str, onnx.TensorProto] = {}
        """Two-level weights in float by name, for call sites without FakeQuantize."""

    def expand(self, node: "onnx.NodeProto", scope: str) -> list["onnx.NodeProto"]:
        """Return the nodes that replace `node` in the file."""
        notes = {entry.key: entry.value for entry in node.metadata_props}
        is_ours = node.domain == DOMAIN and node.op_type == NAME and MODE in notes
        expanded = self._expand_fake_quantize(node, notes, scope) if is_ours else [node]
        if (node.domain, node.op_type) == (low_level.DOMAIN, low_level.NAME):
            expanded = low_level.standard_nodes(node, scope or node.output[0])
        for new in expanded:
            del new.metadata_props[:]
            if scope:
                new.metadata_props.add(key=SCOPE, value=scope)
        return expanded

    def _expand_fake_quantize(
        self, node: "onnx.NodeProto", notes: Mapping[str, str], scope: str
    ) -> list["onnx.NodeProto"]:
        from onnx import helper

        x, threshold, _, low, high = node.input
        (y,) = node.output
        is_weight = notes[ROLE] == "weight"
        signs = f"{scope or y}/signs"
        if notes[MODE] == ExportMode.ONE_BIT:
            if not is_weight or self.weights == "float":
                return [node]
            nodes = self.packed.unpack_nodes(signs, self._value(x))
            node.input[0] = signs
            return [*nodes, node]
        if not is_weight:
            return [
                helper.make_node("Greater", [x, threshold], [f"{scope or y}/above"]),
                helper.make_node("Where", [f"{scope or y}/above", high, low], [y]),
            ]
        if self.weights == "float":
            from onnx import numpy_helper

            levels = np.where(self._value(x) > 0, self._value(high), self._value(low))
            self.levels[y] = numpy_helper.from_array(levels, y)
            return []
        nodes = self.packed.unpack_nodes(signs, self._value(x))
        if np.array_equal(self._value(low), -self._value(high)):
            return [*nodes, helper.make_node("Mul", [signs, high], [y])]
        is_above = helper.make_node("Greater", [signs, threshold], [f"{scope or y}/above"])
        return [*nodes, is_above, helper.make_node("Where", [f"{scope or y}/above", high, low], [y])]

    def _value(self, name: str) -> NDArray[np.floating]:
        from onnx import numpy_helper

        return numpy_helper.to_array(self.initializers[name])

    def write_initializers(self) -> None:
        """Add the new initializers to the graph, and remove those that no node reads any more."""
        used = {name for node in self.graph.node for name in node.input}
        used |= {output.name for output in self.graph.output}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend([*kept, *self.packed.initializers.values(), *self.levels.values()])

    def keep_types_of_computed_values(self) -> None:
        """Drop types of initializers, which are wrong once a tool transposes one, and of removed values."""
        computed = {name for node in self.graph.node for name in node.output}
        kept = [value for value in self.graph.value_info if value.name in computed]
        del self.graph.value_info[:]
        self.graph.value_info.extend(kept)


def _scope(node: "onnx.NodeProto", scopes: Mapping[str, str]) -> str:
    notes = {entry.key: entry.value for entry in node.metadata_props}
    return scopes.get(notes.get(torch_private.FX_NODE, "").partition(" ")[0].removeprefix("%"), "")


def _name_inputs_and_outputs(graph: "onnx.GraphProto", names: FileNames) -> None:
    """Rename inputs and outputs to `names`; inner values with one of these names get another."""
    ends = [value.name for value in (*graph.input, *graph.output)]
    wanted = dict(zip(ends, (*names.inputs, *names.outputs), strict=True))
    inside = {name for node in graph.node for name in (*node.input, *node.output)} - {*ends, ""}
    inside |= {tensor.name for tensor in graph.initializer}
    taken = inside | {*wanted.values()}
    for name in sorted(inside & {*wanted.values()}):
        free = next(new for count in itertools.count(1) if (new := f"{name}_{count}") not in taken)
        taken.add(free)
        wanted[name] = free
    _rename(graph, wanted)


def _rename_initializers(model: "onnx.ModelProto") -> None:
    """Rename parameters to their keys in the model's `state_dict`, unless other values have that name."""
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*model.graph.input, *model.graph.output)}
    new = {tensor.name: tensor.name.removeprefix(ROOT) for tensor in model.graph.initializer}
    _rename(model.graph, {old: name for old, name in new.items() if name not in taken})


def _rename(graph: "onnx.GraphProto", new: Mapping[str, str]) -> None:
    """Give values their `new` names, also in graphs inside nodes."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new.get(name, name)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, new)


def _name_nodes(model: "onnx.ModelProto") -> None:
    """Name each node after its scope and operator, with a counter if that name is taken."""
    count: dict[str, int] = {}
    for node in model.graph.node:
        scope = next((entry.value for entry in node.metadata_props if entry.key == SCOPE), "")
        name = f"{scope}/{node.op_type}" if scope else node.op_type
        count[name] = count.get(name, 0) + 1
        node.name = name if count[name] == 1 else f"{name}_{count[name] - 1}"
