"""Runs what was traced."""

from typing import Any

from torch import fx, nn

from fxbin.tracing import Specialisation, trace


class Traced(fx.GraphModule):
    """A model as its graph, on the same parameters."""

    specialisations: tuple[Specialisation, ...]


def traced(
    root: nn.Module,
    *args: Any,
    training: bool = False,
    leaf_modules: tuple[type[nn.Module], ...] = (),
    **kwargs: Any,
) -> Traced:
    """`root`, traced with these inputs."""
    found = trace(root, args, kwargs, training=training, leaf_modules=leaf_modules)
    vars(root).update(found.extra_attributes)  # a graph module copies from its root what the graph refers to
    module = Traced(root, found.graph)
    for name in found.extra_attributes:
        del vars(root)[name]
    module.specialisations = found.specialisations
    return module
