"""Refuses models whose graphs cannot run: torch.fx cannot write them as code, or the model replaces them."""

import keyword

from torch import fx, nn

from fxbin.errors import TransformError
from fxbin.tracing import ModelTrace


def check_keeps_graph(root: nn.Module, found: ModelTrace) -> None:
    """Raise TransformError if `root` is a graph module that may switch graphs and must run its own code."""
    whole = found.parts.get("")
    may_switch = isinstance(root, fx.GraphModule) and type(root).train is not nn.Module.train
    if may_switch and (whole is None or whole.train_trace is None):
        raise TransformError(
            f"model: {type(root).__name__} is a graph module that may switch graphs in train(), and no "
            f"graph of fxbin can hold its code: {found.islands[''].reason}. Transform the model that it "
            "was made of"
        )


def check_spelling(*graphs: fx.Graph) -> None:
    """Raise TransformError if torch.fx cannot write the name of a module or parameter as valid code."""
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op in ("call_module", "get_attr"):
            if any(mark in node.target for mark in '"\\\n\r'):
                why = "a quote, a backslash or a line break in its name"
            elif any(map(keyword.iskeyword, node.target.split("."))):
                why = "a keyword of Python in its name"
            else:
                continue
            raise TransformError(
                f"model: {node.target!r} has {why}, which the code of a graph cannot contain; rename it"
            )
