"""Turns convolutions that a rewrite has made functions into layers again."""

import torch.nn.functional as F
from torch import fx, nn

from fxbin.deployment.graph_facts import called
from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.node_info import rewrites_of


def restore_layers(module: fx.GraphModule) -> None:
    """Replace calls of `F.conv2d` in shortcuts in the graph of `module`, in place.

        before:  x -> average pooling -> conv2d <- layer.weight, layer.bias
        after:   x -> average pooling -> layer, with the stride of the call

    The layer is a new one at the place of the old one, which had another stride. As a layer, a convolution
    can take in the BatchNorm behind it, and keep its weight arranged.
    """
    functions = [site for site in call_sites(module, module.graph) if site.is_function]
    for site in functions:
        if "downsample_pooling" not in rewrites_of(site.node) or site.node.target is not F.conv2d:
            continue
        place = (site.weight_path or "").rpartition(".")[0]
        layer = attribute(module, place) if place else None
        if isinstance(layer, nn.Conv2d) and _is_as_layer(site, layer) and not _is_called(module, layer):
            _restore(module, site.node, place)


def _is_as_layer(site: CallSite, layer: nn.Conv2d) -> bool:
    """Whether the call has the weight and the bias of `layer`; code may take others, or leave one out."""
    bias = site.arguments["bias"]
    if isinstance(bias, fx.Node):
        bias = attribute(site.owner, str(bias.target)) if bias.op == "get_attr" else bias
    return attribute(site.owner, site.weight_path or "") is layer.weight and bias is layer.bias


def _is_called(module: fx.GraphModule, layer: nn.Module) -> bool:
    """Whether `layer`, or a module around it, is called, with the stride that it has."""
    calls = (called(module, node) for node in module.graph.find_nodes(op="call_module"))
    return any(layer in each.modules() for each in calls if each is not None)


def _restore(module: fx.GraphModule, node: fx.Node, place: str) -> None:
    old, settings = attribute(module, place), CallSite(module, node).arguments
    x, weight = settings["input"], old.weight
    new = nn.Conv2d(
        weight.shape[1] * settings["groups"],
        len(weight),
        weight.shape[-2:],
        stride=settings["stride"],
        padding=settings["padding"],
        dilation=settings["dilation"],
        groups=settings["groups"],
        bias=old.bias is not None,
        device="meta",
    )
    new.weight, new.bias = weight, old.bias
    module.set_submodule(place, new.train(old.training))
    with module.graph.inserting_before(node):
        call = module.graph.call_module(place, (x,))
    call.meta = node.meta
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)
