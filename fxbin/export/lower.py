"""Replaces binarizers by FakeQuantize nodes with constant levels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.levels import Levels
from fxbin.export.distinct import DistinctLevels
from fxbin.export.fake_quantize import fake_quantize
from fxbin.export.legality import Preparation, preparation, why_float, why_values_need_float
from fxbin.export.low_level import LowLevel, add_low_level, low_level
from fxbin.export.report import NOT_USED, ExportMode, Operators, SiteExport
from fxbin.export.small_scales import raise_scales
from fxbin.graph.call_site import CallSite, binarized_call_sites, called_binarizer
from fxbin.graph.node_info import node_info, set_node_info
from fxbin.lowering.disabled import why_disabled
from fxbin.lowering.levels import (
    activation_levels,
    has_known_levels,
    returns_its_input,
    signed_weight,
)
from fxbin.lowering.record import Record
from fxbin.lowering.use import Use

STANDARD = 'operators="standard" was asked for'


def lower_binarizers(
    module: fx.GraphModule,
    record: Record,
    *,
    operators: Operators = "openvino",
    final_values: bool = True,
) -> tuple[SiteExport, ...]:
    """Replace the binarizers of `module`, in place, and return what was done with each call site.

        before:  x -> activation binarizer -> conv2d <- weight binarizer <- w
        after:   x -> (pad) -> fake_quantize -> conv2d <- fake_quantize <- w as a constant

    A disabled binarizer is replaced by its input, and a call site on which nothing depends is left out. A
    binarizer whose levels fxbin does not know remains, and is exported as the operators in its forward.

    Args:
        module: the model, with a graph that is changed.
        record: a run of this graph.
        operators: with "standard", no call site is in 1 bit.
        final_values: whether the values of constants are those of the file; False for a model that will be
            trained further.
    """
    distinct = DistinctLevels() if final_values else None
    exports = []
    use = Use(module.graph)  # stays true below: lowering a site cuts off only what has run before it
    for site in list(binarized_call_sites(module, module.graph)):
        export = _decide(site, record, operators, final_values=final_values, used=use.includes(site.node))
        if export.mode is ExportMode.ONE_BIT:
            export = replace(export, reason=_lower_site(module, site, record, distinct))
        exports.append(export)
    for node in list(module.graph.nodes):
        binarizer = called_binarizer(module, node)
        if binarizer is not None:
            _lower_binarizer(module, node, binarizer, record)
    _erase_unused(module)
    module.recompile()
    return tuple(exports)


def _erase_unused(module: fx.GraphModule) -> None:
    """Erase binarizers and fetched attributes without users.

    Other nodes without users may change a value in place, so they remain.
    """
    for node in reversed(module.graph.nodes):
        if not node.users and (node.op == "get_attr" or called_binarizer(module, node) is not None):
            module.graph.erase_node(node)


def _decide(
    site: CallSite, record: Record, operators: Operators, *, final_values: bool, used: bool
) -> SiteExport:
    binarizers = [binarizer for binarizer in (site.activation, site.weight) if binarizer is not None]
    disabled = why_disabled(site)
    if not used:
        return SiteExport(site.name, ExportMode.LEFT_OUT, enabled=disabled is None, reason=NOT_USED)
    if disabled is not None:
        enabled = any(binarizer.is_enabled for binarizer in binarizers)
        mode = ExportMode.FLOAT if enabled else ExportMode.FULL_PRECISION
        return SiteExport(site.name, mode, enabled=False, reason=disabled)
    shapes = record.shapes[site.node]
    reason = STANDARD if operators == "standard" else why_float(site, shapes)
    if reason is None:
        reason = why_values_need_float(site, shapes, are_final=final_values)
    mode = ExportMode.FLOAT if reason else ExportMode.ONE_BIT
    return SiteExport(site.name, mode, enabled=True, reason=reason or "")


def _lower_site(
    module: fx.GraphModule, site: CallSite, record: Record, distinct: DistinctLevels | None
) -> str:
    """Lower one call site to the pattern that OpenVINO runs in 1 bit; return the other changes as text."""
    assert site.activation is not None
    assert site.weight is not None
    shapes = record.shapes[site.node]
    assert shapes.weight is not None
    needed = preparation(site, shapes)
    levels = activation_levels(site.activation, shapes.x, shapes.dtype)
    weight, w_levels = signed_weight(site.weight, shapes.weight)
    raised_levels, factors, raised = raise_scales(w_levels)
    x = site.raw_x
    added = None
    if levels.low.any():
        added = low_level(levels.low, weight, w_levels, site.arguments, shapes)
        levels = Levels(levels.threshold, torch.zeros_like(levels.low), levels.high - levels.low)
    factor = distinct.factor((shapes.x, *levels), (weight > 0, *raised_levels)) if distinct else 1.0
    with module.graph.inserting_before(site.node):
        if needed.padding:
            below = min(0.0, levels.threshold.min().item())
            x = _call(module, site.node, nn.functional.pad, x, needed.padding, "constant", below)
            levels = _with_channels(levels, needed.channels)
            weight = nn.functional.pad(weight, (0, 0, 0, 0, 0, needed.channels))
        if needed.barrier:
            x = _call(module, site.node, nn.functional.max_pool2d, x, 1)
        w = _constant(module, f"{site.node.name}_weight", weight)
        x_b = _insert(module, site.node, x, _scaled(levels, factor), "activation", ExportMode.ONE_BIT)
        w_b = _insert(module, site.node, w, _scaled(raised_levels, 1 / factor), "weight", ExportMode.ONE_BIT)
    arguments = site.arguments | {"input": x_b, "weight": w_b}
    if any(needed.sides):
        arguments["padding"] = 0
    bias = arguments["bias"]
    if factors is not None:
        arguments["bias"] = None
    site.node.args, site.node.kwargs = tuple(arguments.values()), {}
    _extend(module, site.node, factors, bias, added)
    return _changes(needed, factor, raised, added)


def _changes(needed: Preparation, factor: float, raised: int, added: LowLevel | None) -> str:
    """Text for the report: what was changed so that OpenVINO runs a call site in 1 bit; empty if nothing."""
    apart = f"levels scaled by {factor:g}, to stay apart from equal ones" if factor != 1 else ""
    zeros = f"{raised} weight scales raised from 0 to 2 ** -100, and factors behind it" if raised else ""
    low = "what its lower level contributes is added behind it" if added is not None else ""
    return "; ".join(part for part in (needed.reason, low, apart, zeros) if part)


def _extend(
    module: fx.GraphModule, conv: fx.Node, factors: Tensor | None, bias: Any, added: LowLevel | None
) -> None:
    """Put behind `conv` what its 1-bit form leaves out, and let all its users read the result.

    These are the `factors` of its output and the `bias` after them, and what the lower level of its input
    contributes.
    """
    users, y = [*conv.users], conv
    with module.graph.inserting_before(conv.next):
        if factors is not None:
            constant = _constant(module, f"{conv.name}_factors", factors)
            y = _call(module, conv, torch.mul, y, constant)
            if bias is not None:
                y = _call(module, conv, torch.add, y, _call(module, conv, torch.reshape, bias, (-1, 1, 1)))
        if added is not None:
            constants = [
                _constant(module, f"{conv.name}_low_level_{name}", value)
                for name, value in zip(("values", "rows", "columns"), added, strict=True)
            ]
            y = _call(module, conv, add_low_level, y, *constants)
    for user in users:
        user.replace_input_with(conv, y)


def _scaled(levels: Levels, factor: float) -> Levels:
    """Multiply both levels by `factor`, which is exact for a power of two."""
    return Levels(levels.threshold, levels.low * factor, levels.high * factor)


def _with_channels(levels: Levels, extra: int) -> Levels:
    """Extend levels to an activation ``(n, c + extra, h, w)``; new channels have the threshold 0."""
    threshold = nn.functional.pad(levels.threshold, (0, 0, 0, 0, 0, extra))
    return Levels(threshold, levels.low, levels.high)


def _lower_binarizer(module: fx.GraphModule, node: fx.Node, binarizer: Binarizer, record: Record) -> None:
    """Lower one binarizer that does not belong to a 1-bit call site, if fxbin knows its levels."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    if not node.users:
        return
    if returns_its_input(binarizer):
        node.replace_all_uses_with(x)
        return
    if not (binarizer.is_enabled and has_known_levels(binarizer)):
        return
    with module.graph.inserting_before(node):
        if isinstance(binarizer, ActivationBinarizer):
            levels = activation_levels(binarizer, *record.operands[node])
            lowered = _insert(module, node, x, levels, "activation", ExportMode.FLOAT)
        elif isinstance(binarizer, WeightBinarizer) and node in record.weights:
            weight, levels = signed_weight(binarizer, record.weights[node])
            w = _constant(module, f"{node.name}_constant", weight)
            lowered = _insert(module, node, w, levels, "weight", ExportMode.FLOAT)
        else:
            return
    node.replace_all_uses_with(lowered)


def _insert(
    module: fx.GraphModule, origin: fx.Node, x: fx.Node, levels: Levels, role: str, mode: ExportMode
) -> fx.Node:
    """Insert a fake_quantize of `x` with the names of `origin`."""
    constants = [
        _constant(module, f"{origin.name}_{role}_{name}", value)
        for name, value in (("threshold", levels.threshold), ("low", levels.low), ("high", levels.high))
    ]
    return _call(module, origin, fake_quantize, x, *constants, role, mode.value)


def _call(module: fx.GraphModule, origin: fx.Node, function: Callable[..., Any], *args: Any) -> fx.Node:
    """Insert a call with the hierarchical name of `origin`."""
    node = module.graph.call_function(function, args)
    info = node_info(origin)
    if info is not None:
        set_node_info(node, info)
    return node


def _constant(module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    while hasattr(module, name):
        name += "_"
    module.register_buffer(name, value.detach().clone())
    return module.graph.get_attr(name)
