"""The tracer that is active in this thread."""

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
    """The tracer that records the torch calls of this thread; None if there is none, or it is paused."""
    return _active.tracer


def is_tracing() -> bool:
    """Whether this thread is inside a trace, even if the tracer is paused."""
    return _active.is_tracing


@contextmanager
def recording(tracer: "Recording") -> Iterator[None]:
    """Let `tracer` record the calls of this thread."""
    outer, _active.tracer = _active.tracer, tracer
    _active.is_tracing = True
    try:
        yield
    finally:
        _active.tracer = outer
        _active.is_tracing = outer is not None


class paused:  # noqa: N801  (a context manager used like a function)
    """Run torch without recording: wrapped functions call the originals, and tensor subclasses do nothing.

    It is a class because a generator would take longer than most of the operators that run inside.
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
