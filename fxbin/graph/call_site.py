"""The conv2d call sites of a graph."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx import GraphModule

from fxbin.binarizers.conv2d import conv2d
from fxbin.graph.node_info import NodeInfo, node_info

CONV2D_FUNCTIONS: tuple[Callable[..., Any], ...] = (F.conv2d, torch.conv2d, conv2d)


@dataclass(frozen=True)
class CallSite:
    """One call of a conv2d. A module that is called twice is two call sites."""

    node: fx.Node
    """A ``call_module`` of a conv2d layer, a ``call_function`` of `F.conv2d`, or a module kept whole."""

    info: NodeInfo

    @property
    def is_function(self) -> bool:
        """Whether the node is the convolution itself, with its weight as an argument."""
        return self.node.op == "call_function"

    @property
    def x(self) -> fx.Node:
        """The node of the input activations ``(n, c, h, w)``."""
        return _argument(self.node, 0, "input")

    @property
    def weight(self) -> fx.Node:
        """The node of the weight ``(out, in/groups, kh, kw)``; for a function only."""
        return _argument(self.node, 1, "weight")


def call_sites(graph: fx.Graph) -> Iterator[CallSite]:
    """Every node of `graph` in which a conv2d runs, in execution order. Nodes must have names."""
    for node in graph.nodes:
        info = node_info(node)
        if info is not None and info.op == "conv2d":
            yield CallSite(node, info)


def sites_of_calls(graphs: Iterable[fx.Graph]) -> Iterator[CallSite]:
    """Those of the first of `graphs`, which are of one example call each, then what only later ones run."""
    known: set[str] = set()
    for graph in graphs:
        sites = [site for site in call_sites(graph) if site.info.name not in known]
        known |= {site.info.name for site in sites}
        yield from sites


def why_not_binarizable(module: GraphModule, site: CallSite) -> str | None:
    """Why the graph cannot be rewritten at this call site; None if it can."""
    if site.is_function:
        return _why_not_parameters(module, site.weight)
    if site.info.home:
        return None  # the module is a part of its own, in whose graph the convolution is a function
    layer = module.get_submodule(str(site.node.target))
    if not (isinstance(layer, nn.Conv2d) and _is_plain(layer)):
        return f"it runs inside {type(layer).__name__}, which is kept whole (leaf_modules)"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return "its module has hooks, which run around the module as a whole"
    return None


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether `layer` does what `nn.Conv2d` does, which it need not where its class was kept whole."""
    methods = (getattr(layer.forward, "__func__", None), getattr(layer._conv_forward, "__func__", None))
    return methods == (nn.Conv2d.forward, nn.Conv2d._conv_forward)


def _why_not_parameters(module: GraphModule, weight: fx.Node) -> str | None:
    """Why `weight` is not made of parameters alone; None if it is."""
    pending, seen, has_parameter = [weight], {weight}, False
    while pending:
        node = pending.pop()
        if node.op == "placeholder":
            return "its weight depends on the input"
        if node.op == "get_attr":
            has_parameter |= isinstance(attribute(module, str(node.target)), nn.Parameter)
        new = [source for source in node.all_input_nodes if source not in seen]
        pending += new
        seen.update(new)
    return None if has_parameter else "its weight is no parameter"


def submodule_at(module: nn.Module, path: str) -> nn.Module | None:
    """The submodule of `module` at the dotted `path`; None if there is none."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def attribute(module: nn.Module, path: str) -> Any:
    """What ``get_attr`` of `path` gives."""
    *modules, name = path.split(".")
    return getattr(module.get_submodule(".".join(modules)), name)


def _argument(node: fx.Node, position: int, keyword: str) -> fx.Node:
    value = node.args[position] if len(node.args) > position else node.kwargs[keyword]
    if not isinstance(value, fx.Node):
        raise TypeError(f"{keyword} of {node.format_node()} is no node")
    return value
