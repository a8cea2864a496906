"""The names of operators, as NNCF 2.9.0 gives them.

A name is the scope of the operator, its name and a counter: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``.
NNCF replaces modules of some classes by its own, whose names begin with ``NNCF``, and those of classes
that its users registered (``nncf.torch.register_module``) by such whose names begin with ``NNCFUser``:
what follows tells which ones without replacing anything.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from torch import nn

from fxbin.graph.record import OpCall
from fxbin.graph.scope import Scope, ScopeElement
from fxbin.tracing.values.reference import REPLACED_CLASSES


class Names:
    """Names the operators of one model.

    `ops` are those that run in eval mode: a module that runs in train mode only is not replaced.
    `may_replace` is asked about each module, with the places that hold it: ``["ResNet/Conv2d[conv1]"]``.
    `user_classes` are the names of classes that were registered.
    """

    def __init__(
        self,
        root: nn.Module,
        ops: Iterable[OpCall],
        may_replace: Callable[[list[str]], bool] = lambda _: True,
        user_classes: Collection[str] = (),
    ) -> None:
        while isinstance(root, nn.DataParallel | nn.parallel.DistributedDataParallel):
            root = root.module  # names go through these wrappers as if they were not there
        self._replaced = frozenset(replaced_modules(root, ops, may_replace, user_classes))

    def scope(self, scope: Scope) -> str:
        """``"ResNet/Sequential[layer1]/BasicBlock[0]"``; empty for inputs and outputs of the graph."""
        return "/".join(self._label(element) for element in scope)

    def name(self, op: OpCall) -> str:
        """The NNCF name of `op`; one that NNCF does not see is told apart by ``#`` before its counter."""
        return f"{self.scope(op.scope)}/{op.op}{'_' if op.tracked else '#'}{op.index}"

    def listing(self, ops: Iterable[OpCall]) -> list[tuple[str, str]]:
        """(name, operator) of what NNCF sees, in execution order.

        Once each: NNCF has one node for all calls of an operator in a recurrent module.
        """
        return list(dict.fromkeys((self.name(op), op.op) for op in ops if op.tracked))

    def is_target(self, op: OpCall) -> bool:
        """Whether NNCF binarizes `op`: the conv2d of an `nn.Conv2d`, no subclass, that it replaced.

        NNCF finds modules again by their names, and so misses those under a ModuleDict key with
        ``/`` or ``[`` in it.
        """
        if op.op != "conv2d" or not op.scope or any(set("/[") & set(e.field or "") for e in op.scope):
            return False
        module = op.scope[-1].module
        return type(module) is nn.Conv2d and self._is_replaced(op.scope[-1])

    def _is_replaced(self, element: ScopeElement) -> bool:
        # A module that its caller does not hold was kept from before NNCF replaced any.
        return element.field is not None and element.module in self._replaced

    def _label(self, element: ScopeElement) -> str:
        if not self._is_replaced(element):
            return element.label("")
        return element.label("NNCF" if type(element.module) in REPLACED_CLASSES else "NNCFUser")


def replaced_modules(
    root: nn.Module,
    ops: Iterable[OpCall],
    may_replace: Callable[[list[str]], bool],
    user_classes: Collection[str],
) -> Iterator[nn.Module]:
    """The modules that NNCF would replace: held by others, of such a class, and at work in eval mode.

    What is held by modules of `user_classes` alone stays as it is.
    """
    executed = {path for op in ops if op.tracked for path in _paths(op.scope)}
    places: dict[nn.Module, list[str]] = {}
    outside: set[nn.Module] = set()
    for path, module, is_inside in _held(root, user_classes):
        if type(module) in REPLACED_CLASSES or type(module).__name__ in user_classes:
            places.setdefault(module, []).append(path)
            if not is_inside:
                outside.add(module)
    for module, paths in places.items():
        at_work = module in outside and not executed.isdisjoint(paths)
        if at_work and may_replace([path.removeprefix("/") for path in paths]):
            yield module


def _paths(scope: Scope) -> Iterator[str]:
    """The paths of all modules on the way down `scope`."""
    path = ""
    for element in scope:
        path = f"{path}/{element}"
        yield path


def _held(root: nn.Module, user_classes: Collection[str]) -> Iterator[tuple[str, nn.Module, bool]]:
    """Each module below `root`, once for each place it is held in.

    With its path of classes and fields, and whether one of `user_classes` is on the way.
    """
    pending = [(f"/{type(root).__name__}", root, False)]
    while pending:
        path, parent, was_inside = pending.pop()
        is_inside = was_inside or type(parent).__name__ in user_classes
        for field, child in parent.named_children():
            found = f"{path}/{ScopeElement(child, field)}", child, is_inside
            yield found
            pending.append(found)
