"""Records which value of the model a packed convolution returns, so that the two can be compared."""

from torch import fx

ORIGIN = "fxbin_origin"
"""Key in a node's `meta`. `torch.fx` copies it with the node."""


def set_origin(node: fx.Node, origin: fx.Node) -> None:
    """Record that `node` now returns what `origin` returned in the graph of the model."""
    node.meta[ORIGIN] = origin.name


def origin(node: fx.Node) -> str:
    """Return the name of the node in the model's graph whose value the packed convolution `node` returns."""
    return str(node.meta[ORIGIN])
