"""Binds example inputs to the placeholders of a graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fxbin import torch_private
from fxbin.errors import ExportError


@dataclass(frozen=True)
class BoundInputs:
    """The values of the placeholders of a graph. The tensors in them become inputs of the file."""

    values: tuple[Any, ...]
    """A value for each placeholder, in order."""

    names: tuple[str, ...]
    """Names of the tensors: the name of the placeholder, with the path inside it if it is a container."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors in `values`, in the order of `names`."""
        return tuple(
            leaf for leaf in torch_private.pytree.tree_leaves(self.values) if isinstance(leaf, Tensor)
        )

    def with_tensors(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """Return `values` with `tensors` in place of its own tensors."""
        leaves, structure = torch_private.pytree.tree_flatten(self.values)
        replacement = iter(tensors)
        leaves = [next(replacement) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        values: tuple[Any, ...] = torch_private.pytree.tree_unflatten(leaves, structure)
        return values


def bind_inputs(graph: fx.Graph, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundInputs:
    """Match `args` and `kwargs` to the placeholders of `graph`; missing inputs get their defaults.

    Raises ExportError for an input that is missing, unknown or given twice.
    """
    remaining, named = list(args), dict(kwargs)
    values: list[Any] = []
    names: list[str] = []
    for node in graph.nodes:
        if node.op != "placeholder":
            continue
        name = str(node.target)
        if name.startswith("**"):
            continue  # fx.Interpreter runs it as empty
        if name.startswith("*"):
            new, remaining = remaining, []
        elif remaining and name not in named:
            new = [remaining.pop(0)]
        elif not remaining and (name in named or node.args):
            new = [named.pop(name) if name in named else node.args[0]]
        else:
            problem = "is given twice" if remaining else "is missing; give it in example_inputs or input_info"
            raise ExportError(f"example_inputs: the input {name!r} {problem}")
        values += new
        names += _tensor_names(name.lstrip("*"), new if name.startswith("*") else new[0])
    if remaining or named:
        extra = [*(type(value).__name__ for value in remaining), *named]
        raise ExportError(f"example_inputs: the model does not take {', '.join(extra)}")
    return BoundInputs(tuple(values), tuple(names))


def _tensor_names(name: str, value: Any) -> list[str]:
    """Return names of the tensors in `value`: ``x``, or ``x_0``, ``x_mask`` if it is a container."""
    paths, _ = torch_private.pytree.tree_flatten_with_path(value)
    return [
        "_".join([name, *(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)])
        for path, leaf in paths
        if isinstance(leaf, Tensor)
    ]


def with_batches(inputs: BoundInputs) -> BoundInputs:
    """Return `inputs` with at least two samples on axis 0 of each tensor.

    ``torch.export`` makes an axis of size 1 static, and one sample would broadcast to any number.
    """
    return BoundInputs(inputs.with_tensors([with_batch(x) for x in inputs.tensors]), inputs.names)


def with_batch(x: Tensor) -> Tensor:
    """Return `x`, repeated once on axis 0 if that has size 1."""
    return torch.cat([x, x]) if x.dim() > 0 and x.shape[0] == 1 else x
