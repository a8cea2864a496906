"""Records which value of the model a packed convolution returns, so that the two can be compared."""

from torch import Tensor, fx

ORIGIN, SHIFT = "fxbin_origin", "fxbin_shift"
"""Keys in a node's `meta`. `torch.fx` copies it with the node."""


def set_origin(node: fx.Node, origin: fx.Node) -> None:
    """Record that `node` now returns what `origin` returned in the graph of the model."""
    node.meta[ORIGIN] = origin.name


def origin(node: fx.Node) -> str:
    """Return the name of the node in the model's graph whose value the packed convolution `node` returns."""
    return str(node.meta[ORIGIN])


def set_shift(node: fx.Node, shift: Tensor) -> None:
    """Record what `node` leaves to its readers: in the model, `shift` ``(c,)`` is added to its output."""
    node.meta[SHIFT] = shift


def with_shift(node: fx.Node, y: Tensor) -> Tensor:
    """Return the value in the model for `y` ``(n, c, h, w)``, the output of the packed convolution `node`."""
    shift = node.meta.get(SHIFT)
    return y if shift is None else y + shift.to(y).view(-1, 1, 1)
