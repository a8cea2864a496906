"""Operators and shapes of nodes, stored in ``node.meta``, which no other file accesses for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import fx

from fxbin.graph.scope import Scope

_OPS, _SPEC = "ops", "spec"


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of a tensor that a node computes from the example inputs."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class OpCall:
    """One operator that runs inside a node; a module that is kept whole can run several, or none."""

    scope: Scope
    """The modules it runs in."""

    op: str
    """Name by which the code calls it: ``"conv2d"``, ``"relu_"``, ``"__iadd__"``."""

    index: int
    """0 for the first call of `op` in this scope, then 1, 2, ..."""

    tracked: bool
    """Whether NNCF sees the operator and gives it a name."""

    @property
    def scope_path(self) -> str:
        """The scope as text, with class names as in the code: ``"ResNet/Conv2d[conv1]"``."""
        return "/".join(str(element) for element in self.scope)

    @property
    def address(self) -> str:
        """Identifier of the operator in one forward: its name without prefixes of classes."""
        return f"{self.scope_path}/{self.op}{'_' if self.tracked else '#'}{self.index}"


@dataclass(frozen=True)
class Specialisation:
    """A Python value that the code needed during the trace, and on which the graph therefore relies."""

    expression: str
    """The traced value that was needed: ``"x.shape[2] > 7"``."""

    value: Any
    """The plain value that it had."""

    scope: str
    """Scope of the module whose code needed it."""

    location: str
    """``"file.py:12"`` of the line that needed it."""


@dataclass(frozen=True)
class Island:
    """A module that runs its own code, because no graph can hold it; modules that it calls may be graphs."""

    scope: str
    """Hierarchical name: ``"FasterRCNN/RegionProposalNetwork[rpn]"``."""

    owner: str
    """Qualified name: ``"rpn"``; empty for the model itself."""

    reason: str
    """Why no graph can hold its code: ``"the content of ... is needed (at file.py:12)"``."""


def ops_of(node: fx.Node) -> tuple[OpCall, ...]:
    """The operators that run inside `node`, in execution order."""
    return cast("tuple[OpCall, ...]", node.meta.get(_OPS, ()))


def set_ops(node: fx.Node, ops: Iterable[OpCall]) -> None:
    """Set the operators that run inside `node`."""
    node.meta[_OPS] = tuple(ops)


def forget_ops(node: fx.Node) -> None:
    """Delete the operators of `node`, as they refer to modules, which a copy of the graph would copy too."""
    node.meta.pop(_OPS, None)


def spec_of(node: fx.Node) -> Any:
    """The value of `node` for the example inputs, with a `TensorSpec` in place of each tensor."""
    return node.meta.get(_SPEC)


def set_spec(node: fx.Node, spec: Any) -> None:
    """Set the value of `node` for the example inputs, with a `TensorSpec` in place of each tensor."""
    node.meta[_SPEC] = spec
