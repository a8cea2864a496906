"""Refuses the own code of models whose graphs contain rewrites of the network, which that code lacks."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import fx

from fxbin.errors import TransformError
from fxbin.errors.messages import listed
from fxbin.graph.node_info import rewrites_of


def rewrites_in(graphs: Iterable[fx.Graph]) -> tuple[str, ...]:
    """Names of the rewrites that have changed `graphs`."""
    nodes = (node for graph in graphs for node in graph.nodes)
    return tuple(dict.fromkeys(name for node in nodes for name in rewrites_of(node)))


def refusal(what: str, rewrites: Iterable[str]) -> Callable[..., Any]:
    """A function that raises TransformError, in place of one that runs the own code of `what`."""
    message = (
        f"{what}: no graph fits this call, and the model's own code does not contain what "
        f"compression.rewrites has changed in the graphs ({', '.join(rewrites)}). Its modules have "
        "changed since the transform (a hook, an attribute, a submodule), its code sets attributes, or "
        "these are arguments of no example call. Undo the change, or make it before the transform; pass "
        "other calls to transform: other_calls=[(args, kwargs)]; or transform without these rewrites"
    )

    def refused(*_args: Any, **_kwargs: Any) -> Any:
        raise TransformError(message)

    return refused


def check_runs_as_graphs(
    what: str, rewrites: Iterable[str], attributes: Iterable[str], *, lacks_graph: bool
) -> None:
    """Raise TransformError if own code of `what`, which lacks `rewrites`, would have to run at times.

    Args:
        what: the model or a part of it, as messages call it.
        rewrites: names of the rewrites that have changed its graphs.
        attributes: names of attributes that its forward sets, which graphs do not do.
        lacks_graph: whether it has no graph in one of the modes.
    """
    names, way_out = listed([*dict.fromkeys(attributes)]), "transform without these rewrites"
    if names:
        why = f"its forward sets attributes, which graphs do not do: {names}"
        way_out = (
            "do not set them there; for a constant, it is enough to call the model once before the "
            f"transform; or {way_out}"
        )
    elif lacks_graph:
        why = "no graph can hold its code in train mode, which would run as plain Python"
    else:
        return
    raise TransformError(
        f"compression.rewrites: {what}: {why}. The code itself does not contain what {', '.join(rewrites)} "
        f"would change: {way_out}"
    )
