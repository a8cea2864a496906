"""Replaces binarizers that are not part of packed convolutions by operators on constants."""

import torch
from torch import Tensor, fx

from fxbin.binarizers import ActivationBinarizer, WeightBinarizer
from fxbin.graph.call_site import called_binarizer
from fxbin.lowering.levels import activation_levels, has_known_levels, returns_its_input
from fxbin.lowering.record import Record


def settle_binarizers(module: fx.GraphModule, record: Record) -> None:
    """Rewrite the graph of `module` in place.

        before:  x -> activation binarizer          after:  where(x > threshold, high, low)
        before:  w -> weight binarizer              after:  a buffer
        before:  x -> disabled binarizer            after:  x

    A binarizer of a constant weight becomes the values that it returns. An activation binarizer whose levels
    fxbin does not know stays, with its code and its hooks.
    """
    for node in list(module.graph.nodes):
        binarizer = called_binarizer(module, node)
        if binarizer is None:
            continue
        (x,) = node.all_input_nodes
        settled: fx.Node | None = None
        if returns_its_input(binarizer):
            settled = x
        elif isinstance(binarizer, WeightBinarizer) and node in record.weights:
            with module.graph.inserting_before(node):
                settled = _constant(module, f"{node.name}_weight", binarizer(record.weights[node]))
        elif (
            isinstance(binarizer, ActivationBinarizer)
            and binarizer.is_enabled
            and has_known_levels(binarizer)
        ):
            levels = activation_levels(binarizer, *record.operands[node])
            with module.graph.inserting_before(node):
                settled = _two_levels(module, node.name, x, *levels)
        if settled is not None:
            node.replace_all_uses_with(settled)
            module.graph.erase_node(node)
    for node in reversed(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)


def _two_levels(
    module: fx.GraphModule, name: str, x: fx.Node, threshold: Tensor, low: Tensor, high: Tensor
) -> fx.Node:
    bound, below, above = (
        _constant(module, f"{name}_{part}", value)
        for part, value in (("threshold", threshold), ("low", low), ("high", high))
    )
    is_above = module.graph.call_function(torch.gt, (x, bound))
    return module.graph.call_function(torch.where, (is_above, above, below))


def _constant(module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    while hasattr(module, name):
        name += "_"
    module.register_buffer(name, value.detach().clone())
    return module.graph.get_attr(name)
