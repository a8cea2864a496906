"""A model that returns what its binarized convolutions compute, too."""

from collections.abc import Collection

import torch
from torch import fx
from torch.utils import _pytree as pytree

from fxbin.export.conv_call import conv_calls


def return_layers(module: fx.GraphModule, names: Collection[str]) -> tuple[str, ...]:
    """Let `module` return, behind what it returns now, what the call sites `names` compute.

    Returns the names in that order, which is that of execution. Copies are returned, as what comes after a
    convolution may change its output in place.
    """
    calls = [call for call in conv_calls(module) if call.name in names]
    copies = []
    for call in calls:
        with module.graph.inserting_after(call.node):
            copies.append(module.graph.call_function(torch.clone, (call.node,)))
    output = module.graph.output_node()
    leaves = pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: isinstance(leaf, fx.Node))
    output.args = ((*(leaf for leaf in leaves if isinstance(leaf, fx.Node)), *copies),)
    module.recompile()
    return tuple(call.name for call in calls)
