"""The code that runs a graph: as the graph has it, with each convolution and its binarizers as one call."""

import copy
from collections.abc import Callable
from typing import Any

from torch import fx, nn
from torch.fx.graph_module import _forward_from_src

from fxbin.binarized.replay import is_proxied, replay
from fxbin.binarizers import Binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.graph.call_site import submodule_at


def compiled(graph: fx.Graph, root: nn.Module, path: str) -> Callable[..., Any]:
    """The function that runs `graph`, that of the module at `path`, on `root`, which is its first argument.

    Another tracer of torch.fx, who calls it with proxies, records the graph instead.
    """
    fused = _fused(graph, root)
    inputs = {
        str(node.target): str(node.target).lstrip("*") for node in graph.nodes if node.op == "placeholder"
    }
    given = ", ".join(f"{target!r}: {name}" for target, name in inputs.items())
    met = (
        f"if _is_proxied({', '.join(inputs.values())}): return _replay(_graph, self, {path!r}, {{{given}}})\n"
    )
    with fused.on_generate_code(lambda _: lambda body: [met, *body]):
        code = fused.python_code(root_module="self")
    names = code.globals | {"_is_proxied": is_proxied, "_replay": replay, "_graph": graph}
    return _forward_from_src(code.src, names)  # as GraphModule does: tracebacks show the line


def _fused(graph: fx.Graph, root: nn.Module) -> fx.Graph:
    """`graph` or a copy of it that calls `binarized_conv2d`.

        before:  x -> activation binarizer -> conv2d <- weight binarizer <- w
        after:   x -> binarized_conv2d <- w

    For running only: the graph that the user sees, and that is exported, has the binarizers as nodes.
    """
    if not any(_binarizers(node, root) for node in graph.nodes):
        return graph
    fused = copy.deepcopy(graph)
    for node in list(fused.nodes):
        binarizers = _binarizers(node, root)
        if binarizers is not None:
            _fuse(fused, node, *binarizers)
    return fused


def _binarizers(node: fx.Node, root: nn.Module) -> tuple[fx.Node, fx.Node] | None:
    """The nodes of the activation and of the weight binarizer right before the convolution `node`."""
    if node.op != "call_function" or node.target is not conv2d or len(node.args) < 2:
        return None
    found = node.args[:2]
    if all(isinstance(source, fx.Node) and _is_only_for(source, node, root) for source in found):
        return found  # type: ignore[return-value]
    return None


def _is_only_for(source: fx.Node, node: fx.Node, root: nn.Module) -> bool:
    return (
        source.op == "call_module"
        and list(source.users) == [node]
        # A layer that was wrapped after the transform is elsewhere, and the graph of no use.
        and isinstance(submodule_at(root, str(source.target)), Binarizer)
    )


def _fuse(graph: fx.Graph, conv: fx.Node, activations: fx.Node, weights: fx.Node) -> None:
    with graph.inserting_before(conv):
        modules = [graph.create_node("get_attr", str(node.target)) for node in (activations, weights)]
    conv.target = binarized_conv2d
    conv.args = (*modules, activations.args[0], weights.args[0], *conv.args[2:])
    graph.erase_node(activations)
    graph.erase_node(weights)
