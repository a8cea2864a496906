"""What the tracer notes of each node, and the only way to it: it is kept in ``node.meta``."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import fx

from fxbin.graph.scope import Scope

_OPS, _SPEC = "ops", "spec"


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype that a node's tensor had for the example inputs."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class OpCall:
    """One operator that ran inside a node; a module kept whole can run several, or none."""

    scope: Scope

    op: str
    """As the code spelled it: ``"conv2d"``, ``"relu_"``, ``"__iadd__"``."""

    index: int
    """0 for the first call of `op` in this scope, then 1, 2, ..."""

    tracked: bool
    """False where the reference implementation loses sight of the operator and gives it no name."""

    @property
    def scope_path(self) -> str:
        """The scope as a string, classes as they are named in the code."""
        return "/".join(str(element) for element in self.scope)

    @property
    def address(self) -> str:
        """Identifies the operator in one forward: the name without any prefix on classes."""
        return f"{self.scope_path}/{self.op}{'_' if self.tracked else '#'}{self.index}"


@dataclass(frozen=True)
class Specialisation:
    """A Python value that the code needed while it was traced, and that the graph now relies on."""

    expression: str
    """The traced value that was needed: ``"x.shape[2] > 7"``."""

    value: Any

    scope: str
    """Scope of the module whose code needed it."""

    location: str
    """``"file.py:12"`` of the line that needed it."""


@dataclass(frozen=True)
class Island:
    """A module that runs as it is, around parts that run as graphs, because no graph can hold its code."""

    scope: str
    """Hierarchical name: ``"FasterRCNN/RegionProposalNetwork[rpn]"``."""

    owner: str
    """Qualified name: ``"rpn"``; empty for the model itself."""

    reason: str
    """What its code does and where: ``"the content of ... is needed (at file.py:12)"``."""


def ops_of(node: fx.Node) -> tuple[OpCall, ...]:
    """The operators that run inside `node`, in execution order."""
    return cast("tuple[OpCall, ...]", node.meta.get(_OPS, ()))


def set_ops(node: fx.Node, ops: Iterable[OpCall]) -> None:
    """Note the operators that run inside `node`."""
    node.meta[_OPS] = tuple(ops)


def forget_ops(node: fx.Node) -> None:
    """Drop the operators of `node`: they refer to modules, which a copy of the graph must not drag along."""
    node.meta.pop(_OPS, None)


def spec_of(node: fx.Node) -> Any:
    """The node's value for the example inputs, with a `TensorSpec` for each tensor in it."""
    return node.meta.get(_SPEC)


def set_spec(node: fx.Node, spec: Any) -> None:
    """Note the node's value for the example inputs, with a `TensorSpec` for each tensor in it."""
    node.meta[_SPEC] = spec
