"""The names of operators, as NNCF 2.9.0 gives them.

A name is the scope of the operator, its name and a counter: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``.
NNCF replaces modules of some classes by its own, whose names begin with ``NNCF``: what follows tells
which ones without replacing anything.
"""

from collections.abc import Iterable, Iterator

from torch import nn

from fxbin.tracing.record import OpCall
from fxbin.tracing.scope import Scope, ScopeElement

REPLACED_CLASSES = frozenset(
    {
        nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
        nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm,
        nn.Embedding, nn.EmbeddingBag,
    }
)  # fmt: skip
"""Exactly these; a subclass keeps its own name."""


class Names:
    """Names the operators of one model.

    `ops` are those that run in eval mode: a module that runs in train mode only is not replaced.
    """

    def __init__(self, root: nn.Module, ops: Iterable[OpCall]) -> None:
        self._root = root
        self._replaced = frozenset(replaced_modules(root, ops))

    def scope(self, scope: Scope) -> str:
        """``"ResNet/Sequential[layer1]/BasicBlock[0]"``; empty for inputs and outputs of the graph."""
        return "/".join(self._label(element) for element in scope)

    def name(self, op: OpCall) -> str:
        """The NNCF name of `op`; one that NNCF does not see is told apart by ``#`` before its counter."""
        return f"{self.scope(op.scope)}/{op.op}{'_' if op.tracked else '#'}{op.index}"

    def is_target(self, op: OpCall) -> bool:
        """Whether NNCF binarizes `op`: the conv2d of an `nn.Conv2d`, no subclass, that it replaced."""
        module = op.scope[-1].module if op.scope else None
        return op.op == "conv2d" and type(module) is nn.Conv2d and module in self._replaced

    def _label(self, element: ScopeElement) -> str:
        return element.label("NNCF" if element.module in self._replaced else "")


def replaced_modules(root: nn.Module, ops: Iterable[OpCall]) -> Iterator[nn.Module]:
    """The modules that NNCF would replace: registered, of such a class, and at work in eval mode."""
    executed = {path for op in ops if op.tracked for path in _paths(op.scope)}
    for path, module in _registered(root):
        if type(module) in REPLACED_CLASSES and path in executed:
            yield module


def _paths(scope: Scope) -> Iterator[str]:
    """The paths of all modules on the way down `scope`."""
    path = ""
    for element in scope:
        path = f"{path}/{element}"
        yield path


def _registered(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module below `root` with its path of classes and fields, once for each place it is held in."""
    pending = [(f"/{type(root).__name__}", root)]
    while pending:
        path, parent = pending.pop()
        for field, child in parent.named_children():
            child_path = f"{path}/{ScopeElement(child, field)}"
            yield child_path, child
            pending.append((child_path, child))
