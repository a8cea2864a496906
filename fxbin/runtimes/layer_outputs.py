"""Lets a model return the outputs of its binarized convolutions as well."""

from collections.abc import Collection, Sequence

import torch
from torch import fx

from fxbin import torch_private
from fxbin.graph.call_site import binarized_call_sites


def return_layers(module: fx.GraphModule, names: Collection[str]) -> tuple[str, ...]:
    """Append the outputs of the call sites `names` to what `module` returns; return names in that order.

    The order is that of execution.
    """
    sites = [site for site in binarized_call_sites(module, module.graph) if site.name in names]
    return_values(module, [site.node for site in sites])
    return tuple(site.name for site in sites)


def return_values(module: fx.GraphModule, nodes: Sequence[fx.Node]) -> None:
    """Append the values of `nodes` to what `module` returns, which becomes one flat tuple.

    The module returns copies, because code after a node may change its value in place.
    """
    copies = []
    for node in nodes:
        with module.graph.inserting_after(node):
            copies.append(module.graph.call_function(torch.clone, (node,)))
    output = module.graph.output_node()
    leaves = torch_private.pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: isinstance(leaf, fx.Node))
    output.args = ((*(leaf for leaf in leaves if isinstance(leaf, fx.Node)), *copies),)
    module.recompile()
