"""Replaces convolutions and their binarizers by modules with packed weights."""

import torch
from torch import Tensor, fx

from fxbin.binarizers.axes import pair
from fxbin.deployment.deployed_module import DeployedSite
from fxbin.deployment.origin import set_origin
from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.engine.signs import pack_signs
from fxbin.graph.attribute import attribute, submodule_at
from fxbin.graph.call_site import CallSite, binarized_call_sites, called_binarizer
from fxbin.lowering.conv_shapes import padded_sides
from fxbin.lowering.disabled import why_disabled
from fxbin.lowering.levels import activation_levels, scale_varies_inside, signed_weight, why_unknown_levels
from fxbin.lowering.record import Record

PACKED = "packed"
"""Name of the submodule that contains the packed convolutions: ``packed.layer1_0_conv1``."""


def pack_sites(module: fx.GraphModule, record: Record) -> tuple[DeployedSite, ...]:
    """Replace call sites in the graph of `module` by packed convolutions; return the result for each one.

        before:  x -> activation binarizer -> conv2d <- weight binarizer <- w
        after:   x -> packed.conv2d

    `record` must come from a run of this graph.
    """
    folder = PACKED
    while hasattr(module, folder):
        folder += "_"
    sites = []
    for site in list(binarized_call_sites(module, module.graph)):
        reason = why_not_packed(site, record)
        sites.append(
            DeployedSite(site.name, "" if reason else _pack(module, site, record, folder), reason or "")
        )
    _erase_unused(module)
    return tuple(sites)


def why_not_packed(site: CallSite, record: Record) -> str | None:
    """Why this call site is not packed; None if the engine can compute it."""
    reason = why_disabled(site)
    if reason is not None:
        return reason
    if site.activation is None or site.weight is None:
        missing = "input" if site.activation is None else "weight"
        return f"its {missing} does not come straight from a binarizer"
    for binarizer in (site.activation, site.weight):
        unknown = why_unknown_levels(binarizer)
        if unknown is not None:
            return unknown
    weight = record.shapes[site.node].weight
    if weight is None:
        return "its weight depends on the input of the model"
    if scale_varies_inside(site.weight, weight):
        return "its weight scale varies inside a filter"
    return None if _bias_is_constant(site) else "its bias is computed"


def _bias_is_constant(site: CallSite) -> bool:
    bias = site.arguments["bias"]
    return bias is None or (isinstance(bias, fx.Node) and bias.op == "get_attr")


def _pack(module: fx.GraphModule, site: CallSite, record: Record, folder: str) -> str:
    """Replace `site` by a packed convolution, and return the path of that module."""
    place = _free_place(module, folder, (site.weight_path or site.node.name).removesuffix(".weight"))
    module.add_submodule(place, _packed(module, site, record))
    with module.graph.inserting_before(site.node):
        packed = module.graph.call_module(place, (site.raw_x,))
    packed.meta = dict(site.node.meta)
    set_origin(packed, site.node)
    site.node.replace_all_uses_with(packed)
    module.graph.erase_node(site.node)
    return place


def _free_place(module: fx.GraphModule, folder: str, path: str) -> str:
    """Return a free path named after the weight: ``packed.layer1_0_conv1``; a second call gets ``_1``."""
    place = f"{folder}.{path.replace('.', '_')}"
    taken = 0
    while submodule_at(module, f"{place}_{taken}" if taken else place) is not None:
        taken += 1
    return f"{place}_{taken}" if taken else place


def _packed(module: fx.GraphModule, site: CallSite, record: Record) -> PackedConv2d:
    shapes, arguments = record.shapes[site.node], site.arguments
    assert site.activation is not None
    assert site.weight is not None
    assert shapes.weight is not None
    filters = shapes.weight.shape[0]
    threshold, low, high = activation_levels(site.activation, shapes.x, shapes.dtype)
    weight, (_, w_low, w_high) = signed_weight(site.weight, shapes.weight)
    bias = None if arguments["bias"] is None else attribute(module, str(arguments["bias"].target))
    left, right, top, bottom = padded_sides(arguments, shapes)
    return PackedConv2d(
        threshold.flatten().clone(),
        torch.cat([low.flatten(), high.flatten()]).float(),
        pack_signs(weight),
        torch.stack([_of_filters(w_low, filters), _of_filters(w_high, filters)]),
        None if bias is None else bias.detach().float().clone(),
        kernel_size=shapes.weight.shape[2:],
        stride=pair(arguments["stride"]),
        padding=(top, bottom, left, right),
        dilation=pair(arguments["dilation"]),
        groups=arguments["groups"],
    )


def _of_filters(level: Tensor, filters: int) -> Tensor:
    return level.detach().float().flatten().expand(filters)


def _erase_unused(module: fx.GraphModule) -> None:
    """Remove binarizers and attributes such as weights that nothing reads any more."""
    for node in reversed(module.graph.nodes):
        is_source = node.op == "get_attr" or called_binarizer(module, node) is not None
        if is_source and not node.users:
            module.graph.erase_node(node)
