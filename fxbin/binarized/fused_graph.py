"""Generates the code of a graph, with each convolution and its binarizers as one call."""

import copy
import linecache
from collections.abc import Callable
from itertools import count
from typing import Any

from torch import fx, nn

from fxbin.binarized.replay import is_proxied, replay
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.graph.call_site import CallSite, call_sites


def compiled(graph: fx.Graph, root: nn.Module, path: str) -> Callable[..., Any]:
    """A function that runs `graph` of the module at `path`, with the whole model `root` as first argument.

    If another tracer of torch.fx calls it with proxies, that tracer records the graph instead.
    """
    fused = _fused(graph, root)
    inputs = {
        str(node.target): str(node.target).lstrip("*") for node in graph.nodes if node.op == "placeholder"
    }
    given = ", ".join(f"{target!r}: {name}" for target, name in inputs.items())
    met = (
        f"if _is_proxied({', '.join(inputs.values())}): return _replay(_shown, self, {path!r}, {{{given}}})\n"
    )
    with fused.on_generate_code(lambda _: lambda body: [met, *body]):
        code = fused.python_code(root_module="self")
    names = code.globals | {"_is_proxied": is_proxied, "_replay": replay, "_shown": graph}
    return _defined_by(code.src, names)


def _defined_by(source: str, names: dict[str, Any]) -> Callable[..., Any]:
    """The function `forward` that `source` defines; tracebacks show its lines, as for a GraphModule."""
    file = f"<fxbin graph {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = dict(names)
    exec(compile(source, file, "exec"), space)  # noqa: S102  (torch.fx has generated it, as for GraphModule)
    forward: Callable[..., Any] = space["forward"]
    return forward


_numbers = count()


def _fused(graph: fx.Graph, root: nn.Module) -> fx.Graph:
    """`graph` or a copy of it that calls `binarized_conv2d`.

        before:  x -> activation binarizer -> conv2d <- weight binarizer <- w
        after:   x -> binarized_conv2d <- w

    It is only for running: the graph that users see and export has binarizers as nodes.
    """
    if not any(map(_is_fusible, call_sites(root, graph))):
        return graph
    fused = copy.deepcopy(graph)
    for site in list(filter(_is_fusible, call_sites(root, fused))):
        _fuse(fused, site)
    return fused


def _is_fusible(site: CallSite) -> bool:
    """Whether binarizers compute both inputs of `site`, and nothing else uses them."""
    # The binarizers of a layer that was wrapped after the transform are elsewhere; no graph is valid then.
    return (
        site.node.target is conv2d
        and site.activation is not None
        and site.weight is not None
        and len(site.x.users) == len(site.w.users) == 1
    )


def _fuse(graph: fx.Graph, site: CallSite) -> None:
    conv, binarizers = site.node, (site.x, site.w)
    with graph.inserting_before(conv):
        modules = [graph.create_node("get_attr", str(node.target)) for node in binarizers]
    settings = list(site.arguments.values())[2:]
    conv.args, conv.kwargs = (*modules, site.raw_x, site.raw_w, *settings), {}
    conv.target = binarized_conv2d
    for node in binarizers:
        graph.erase_node(node)
