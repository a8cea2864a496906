"""Hierarchical names of operators, as NNCF 2.9.0 gives them.

A name consists of the operator's scope, its own name and a counter: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``.
NNCF replaces modules of some classes by its own classes, whose names begin with ``NNCF``, and modules of
classes that users registered (``nncf.torch.register_module``) by classes with the prefix ``NNCFUser``. This
file determines which modules those are, without replacing any.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from torch import nn

from fxbin.graph.record import OpCall
from fxbin.graph.scope import Scope, ScopeElement
from fxbin.tracing.values.reference import REPLACED_CLASSES


class Names:
    """Names the operators of one model.

    `ops` are the operators of eval mode: NNCF does not replace a module that runs in train mode only.
    `may_replace` says for the scopes of a module, ``["ResNet/Conv2d[conv1]"]``, whether it may be replaced.
    `user_classes` are the names of registered classes.
    """

    def __init__(
        self,
        root: nn.Module,
        ops: Iterable[OpCall],
        may_replace: Callable[[list[str]], bool] = lambda _: True,
        user_classes: Collection[str] = (),
    ) -> None:
        while isinstance(root, nn.DataParallel | nn.parallel.DistributedDataParallel):
            root = root.module  # NNCF leaves these wrappers out of names
        self._replaced = frozenset(replaced_modules(root, ops, may_replace, user_classes))

    def scope(self, scope: Scope) -> str:
        """`scope` as text: ``"ResNet/Sequential[layer1]/BasicBlock[0]"``; empty for inputs and outputs."""
        return "/".join(self._label(element) for element in scope)

    def name(self, op: OpCall) -> str:
        """NNCF's name of `op`; if NNCF does not see it, the counter comes after ``#`` instead of ``_``."""
        return f"{self.scope(op.scope)}/{op.op}{'_' if op.tracked else '#'}{op.index}"

    def listing(self, ops: Iterable[OpCall]) -> list[tuple[str, str]]:
        """(name, operator) of all operators that NNCF sees, in execution order.

        Without duplicates, as NNCF has one node for all calls of an operator in a recurrent module.
        """
        return list(dict.fromkeys((self.name(op), op.op) for op in ops if op.tracked))

    def nncf_binarizes(self, op: OpCall) -> bool:
        """Whether NNCF binarizes `op`: the conv2d of an `nn.Conv2d`, not of a subclass, that it replaces.

        NNCF looks up modules by name, and so misses modules under a ModuleDict key that contains ``/`` or
        ``[``.
        """
        if op.op != "conv2d" or not op.scope or any(set("/[") & set(e.field or "") for e in op.scope):
            return False
        module = op.scope[-1].module
        return type(module) is nn.Conv2d and self._is_replaced(op.scope[-1])

    def _is_replaced(self, element: ScopeElement) -> bool:
        # If the caller has no attribute with the module, it uses a reference from before the replacement.
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
    """Yield the modules that NNCF would replace: submodules of such a class that run in eval mode.

    A module that appears only inside modules of `user_classes` is not replaced.
    """
    executed = {path for op in ops if op.tracked for path in _paths(op.scope)}
    places: dict[nn.Module, list[str]] = {}
    outside: set[nn.Module] = set()
    for path, module, is_inside in _places(root, user_classes):
        if type(module) in REPLACED_CLASSES or type(module).__name__ in user_classes:
            places.setdefault(module, []).append(path)
            if not is_inside:
                outside.add(module)
    for module, paths in places.items():
        at_work = module in outside and not executed.isdisjoint(paths)
        if at_work and may_replace([path.removeprefix("/") for path in paths]):
            yield module


def _paths(scope: Scope) -> Iterator[str]:
    """Yield the path of each module from the root down to the end of `scope`."""
    path = ""
    for element in scope:
        path = f"{path}/{element}"
        yield path


def _places(root: nn.Module, user_classes: Collection[str]) -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield each module below `root`, for each place that it has in the model.

    As (path of classes and attributes, module, whether the path has one of `user_classes`).
    """
    pending = [(f"/{type(root).__name__}", root, False)]
    while pending:
        path, parent, was_inside = pending.pop()
        is_inside = was_inside or type(parent).__name__ in user_classes
        for field, child in parent.named_children():
            found = f"{path}/{ScopeElement(child, field)}", child, is_inside
            yield found
            pending.append(found)
