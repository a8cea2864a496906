"""Keeps track of the running module, and of whether it is kept whole."""

from collections import Counter

from torch import nn

from fxbin.graph.record import OpCall
from fxbin.graph.scope import Scope, ScopeFinder
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.reference import ITERATION_MODULES, SPELLED_IN_TORCH_2_2


class Position:
    """The running modules, and how often each operator has run in each of them.

    `running` is the scope from which the traced module is called; empty if that is the root. `with_data`
    says whether operators run on the content of tensors.
    """

    def __init__(self, running: Scope = (), *, with_data: bool = False) -> None:
        self.with_data = with_data
        self.scopes = [running] if running else []
        """The scopes of the running modules, the innermost last."""
        self.function = ""
        """Name of the function that is being kept whole; empty if it is not a function."""
        self.inner_ops: list[OpCall] | None = None
        """The operators so far in the call that is being kept whole; None if there is none."""
        self.ops: list[OpCall] = []
        """All operators of a run with data so far."""
        self._counters: Counter[tuple[str, str, bool]] = Counter()
        self._finder = ScopeFinder()

    @property
    def is_kept_whole(self) -> bool:
        """Whether the running code is inside a call that is kept whole as one node."""
        return self.inner_ops is not None

    @property
    def knows_values(self) -> bool:
        """Whether code gets plain sizes and numbers, as it is kept whole or the graph will never run."""
        return self.inner_ops is not None or self.with_data

    @property
    def scope(self) -> Scope:
        """Scope of the innermost running module; empty if none is running."""
        return self.scopes[-1] if self.scopes else ()

    @property
    def path(self) -> str:
        """The scope of the innermost running module as a string."""
        return "/".join(map(str, self.scope))

    @property
    def module(self) -> nn.Module | None:
        """The innermost running module; None if none is running."""
        return self.scopes[-1][-1].module if self.scopes else None

    @property
    def caller(self) -> nn.Module | None:
        """The module whose code called the innermost running one; None if there is none."""
        return self.scopes[-2][-1].module if _length(self.scopes) > 1 else None

    def enter(self, module: nn.Module) -> Scope:
        """Note that the running module calls `module`, and return its scope."""
        with paused():
            scope = self._finder.find(self.scope, module)
        self.scopes.append(scope)
        return scope

    def leave(self) -> None:
        """Note that the innermost running module has returned."""
        scope = self.scopes.pop()
        if type(scope[-1].module).__name__ in ITERATION_MODULES:
            self._forget_counters(scope)

    def count(self, op: str, *, tracked: bool) -> tuple[OpCall, ...]:
        """Count a call of `op`, and return the numbered operators that NNCF sees in its place."""
        scope = self.scope
        spelled = [op]
        if op in _RESPELLED:
            owner = self.function or (type(scope[-1].module).__name__ if scope else "")
            spelled = list(SPELLED_IN_TORCH_2_2.get((owner, op), spelled))
        path = self.path
        ops = []
        for name in spelled:
            key = (path, name, tracked)
            self._counters[key] += 1
            ops.append(OpCall(scope, name, self._counters[key] - 1, tracked))
        if self.with_data:
            self.ops += ops
        return tuple(ops)

    def _forget_counters(self, scope: Scope) -> None:
        path = "/".join(map(str, scope))
        for key in [key for key in self._counters if f"{key[0]}/".startswith(f"{path}/")]:
            del self._counters[key]


_length = len  # while a model is traced, the built-in is another one
_RESPELLED = frozenset(op for _, op in SPELLED_IN_TORCH_2_2)
