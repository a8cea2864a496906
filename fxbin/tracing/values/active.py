"""Which tracer is at work in this thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from fxbin import torch_private

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording


class _Active(threading.local):
    tracer: "Recording | None" = None
    is_tracing: bool = False


_active = _Active()


def active_tracer() -> "Recording | None":
    """The tracer that records this thread's torch calls; None almost always."""
    return _active.tracer


def is_tracing() -> bool:
    """Whether this thread is inside a trace, be it that the tracer has paused."""
    return _active.is_tracing


@contextmanager
def recording(tracer: "Recording") -> Iterator[None]:
    """Let `tracer` record what this thread calls."""
    outer, _active.tracer = _active.tracer, tracer
    _active.is_tracing = True
    try:
        yield
    finally:
        _active.tracer = outer
        _active.is_tracing = outer is not None


class paused:  # noqa: N801  (a context manager used like a function)
    """Run torch as if no tracer was there: neither wrapped functions nor tensor subclasses act.

    A class, since a generator costs more than most of the operators it is wrapped around.
    """

    def __enter__(self) -> None:
        self._outer, _active.tracer = _active.tracer, None
        self._guard = torch_private.WithoutTorchFunction()
        self._guard.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.__exit__(kind, error, trace)
        _active.tracer = self._outer
