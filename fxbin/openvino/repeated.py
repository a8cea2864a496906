"""Finds call sites that compute the same as another one."""

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx

from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import CallSite, binarized_call_sites

MULTIPLICATIONS: tuple[Any, ...] = (operator.mul, torch.mul, "mul")
DIVISIONS: tuple[Any, ...] = (operator.truediv, torch.div, "div")


def repeated_calls(module: fx.GraphModule, names: Collection[str]) -> int:
    """How many of the call sites `names` repeat another one: same input, same weight, equal thresholds.

    OpenVINO computes such convolutions only once, even if their constants are separate in the file. An input
    times a number counts as the same input with other thresholds.
    """
    sites = [site for site in binarized_call_sites(module, module.graph) if site.name in names]
    return len(sites) - len(set(map(_identity, sites)))


def _identity(site: CallSite) -> tuple[Any, ...]:
    assert site.activation is not None
    options = [site.arguments[name] for name in ("stride", "padding", "dilation", "groups")]
    x, factor = _without_factor(site.raw_x)
    threshold = site.activation.levels().threshold
    thresholds = tuple(f"{value / factor:.5g}" for value in threshold.flatten().tolist())
    origin = attribute(site.owner, site.weight_path) if site.weight_path else site.raw_w
    return x, factor > 0, origin, str(options), thresholds


def _without_factor(x: fx.Node) -> tuple[fx.Node, float]:
    """Write the value of `x` as a number times the value of another node; return that node and the number."""
    factor = 1.0
    while x.target in (*MULTIPLICATIONS, *DIVISIONS) and not x.kwargs:
        nodes = [arg for arg in x.args if isinstance(arg, fx.Node)]
        numbers = [arg for arg in x.args if isinstance(arg, int | float) and arg]
        is_division = x.target in DIVISIONS
        if len(nodes) != 1 or len(numbers) != 1 or (is_division and x.args[0] is not nodes[0]):
            break
        factor = factor / numbers[0] if is_division else factor * numbers[0]
        x = nodes[0]
    return x, factor
