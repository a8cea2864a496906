"""Removes dropout, which does nothing in eval mode, but confuses PyTorch's exporter."""

import inspect
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from fxbin.original.plain_code import is_plain

MODULES = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
FUNCTIONS: tuple[Any, ...] = (
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
)  # fmt: skip


def remove_dropout(module: fx.GraphModule) -> None:
    """Replace each dropout of `module`, which is in eval mode, by its input, in place.

    In eval mode, dropout returns its input itself, so that later writes into one also change the other.
    PyTorch's exporter treats them as two values, and would miss such writes.
    """
    found = [node for node in module.graph.nodes if _returns_its_input(module, node)]
    for node in found:
        node.replace_all_uses_with(node.all_input_nodes[0])
        module.graph.erase_node(node)
    if found:  # as generating code takes a second for a thousand layers
        module.recompile()


def _returns_its_input(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is a dropout, and one that returns its input unchanged."""
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        return is_plain(called, *MODULES) and not called.training
    function: Any = node.target
    if function not in FUNCTIONS:
        return False
    given = inspect.signature(function).bind(*node.args, **node.kwargs)
    given.apply_defaults()
    return given.arguments["training"] is False
