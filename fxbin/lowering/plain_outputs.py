"""Lets a graph return dicts and tuples in place of other containers, of which a file has only the tensors."""

from dataclasses import is_dataclass
from typing import Any

from torch import fx

from fxbin.graph.containers import Rebuilt, parts


def return_plain_containers(module: fx.GraphModule) -> None:
    """Replace containers that `module` returns, and that nodes of its graph make, in place.

    What is derived from dict becomes a dict: an ``OrderedDict``, an output of transformers. Named tuples,
    dataclasses and what is derived from list or tuple become tuples.
    """
    output = module.graph.output_node()
    output.args = (_plain(output.args[0]),)
    for node in reversed(module.graph.nodes):
        if not node.users and _made_by(node) is not None:
            module.graph.erase_node(node)
    module.recompile()


def _plain(value: Any) -> Any:
    if isinstance(value, fx.Node):
        made = _made_by(value)
        return value if made is None else _plain(made)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, tuple | list) else value


def _made_by(node: fx.Node) -> dict[Any, Any] | tuple[Any, ...] | None:
    """What is in the container that `node` makes; None if it makes none."""
    make = node.target
    if isinstance(make, Rebuilt):
        is_dict = isinstance(make.template, dict)
        return dict(zip(parts(make.template) or (), node.args, strict=True)) if is_dict else node.args
    if not isinstance(make, type):
        return None
    if issubclass(make, dict):
        return dict(node.kwargs)
    return (*node.args, *node.kwargs.values()) if is_dataclass(make) or hasattr(make, "_fields") else None
