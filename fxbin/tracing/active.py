"""Which tracer is at work in this thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fxbin.tracing.tracer import Tracer


class _Active(threading.local):
    tracer: "Tracer | None" = None


_active = _Active()


def active_tracer() -> "Tracer | None":
    """The tracer that records this thread's torch calls; None almost always."""
    return _active.tracer


@contextmanager
def recording(tracer: "Tracer") -> Iterator[None]:
    """Let `tracer` record what this thread calls."""
    outer, _active.tracer = _active.tracer, tracer
    try:
        yield
    finally:
        _active.tracer = outer


class paused:  # noqa: N801  (a context manager used like a function)
    """Run torch as if no tracer was there: neither wrapped functions nor tensor subclasses act.

    A class, since a generator costs more than most of the operators it is wrapped around.
    """

    def __enter__(self) -> None:
        self._outer, _active.tracer = _active.tracer, None
        self._guard = torch._C.DisableTorchFunction()
        self._guard.__enter__()  # type: ignore[attr-defined]

    def __exit__(self, *exception: object) -> None:
        self._guard.__exit__(*exception)  # type: ignore[attr-defined]
        _active.tracer = self._outer
