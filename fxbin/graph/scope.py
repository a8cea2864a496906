"""Scopes: the modules from the root to the one in which an operator runs, as they are called."""

from collections import deque
from dataclasses import dataclass

from torch import nn

from fxbin import torch_private


@dataclass(frozen=True, eq=False)
class ScopeElement:
    """One module of a scope, with the name under which its parent holds it."""

    module: nn.Module

    field: str | None
    """Name under which its parent holds it; None for the root and for modules that no parent holds."""

    def __str__(self) -> str:
        return self.label("")

    def label(self, prefix: str) -> str:
        """``"Conv2d[conv1]"``, its class name preceded by `prefix`."""
        name = prefix + type(self.module).__name__
        return name if self.field is None else f"{name}[{self.field}]"


Scope = tuple[ScopeElement, ...]
"""The modules from the root to the running one; empty for inputs and outputs of the graph."""


class ScopeFinder:
    """Finds the scope of a module that is called while another one runs.

    It is the shortest path from the *running* module, by identity, in registration order: an alias inside the
    running module takes precedence over the name that the callee has in the root. A callee that the running
    module does not hold gets an element without a field.
    """

    def __init__(self) -> None:
        self._below: dict[nn.Module, dict[nn.Module, Scope]] = {}

    def find(self, running: Scope, callee: nn.Module) -> Scope:
        """Scope of `callee` if the last module of `running` calls it; if that is empty, of the root."""
        if not running:
            return (ScopeElement(callee, None),)
        caller = running[-1].module
        if caller not in self._below:
            # One search per caller, not per call: a chain of n modules must cost n, not n * n.
            self._below[caller] = paths_below(caller)
        found = self._below[caller].get(callee)
        return running + ((ScopeElement(callee, None),) if found is None else found)


def paths_below(root: nn.Module) -> dict[nn.Module, Scope]:
    """The shortest path to each module below `root`; it is empty for `root` itself."""
    paths: dict[nn.Module, Scope] = {root: ()}
    queue = deque([root])
    while queue:
        parent = queue.popleft()
        for field, child in torch_private.modules(parent).items():
            if child is not None and child not in paths:
                paths[child] = (*paths[parent], ScopeElement(child, field))
                queue.append(child)
    return paths
