"""Tells which code of transformed models runs in this thread, and gives binarizers to its convolutions."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxbin.onlookers import is_in_autograd_function

_CONV2D = (torch.conv2d, torch.ops.aten.conv2d, torch.ops.aten.conv2d.default)


class Convolves(Protocol):
    """Something whose code calls `F.conv2d`, with binarizers for these calls."""

    def convolve(self, *args: Any, **kwargs: Any) -> Tensor:
        """`F.conv2d` with the binarizers of its call site."""
        ...

    def check_has_no_site(self, weight: Tensor) -> None:
        """Raise TransformError if a call site has `weight`, with which an autograd function convolves."""
        ...


# By qualified name: the module that is called, and how often. Dynamo of torch 2.9 takes no other keys.
_CallCounts = dict[str, tuple[Any, int]]
_Counts = tuple[tuple[object, _CallCounts], ...]


class _OfThread(threading.local):
    """What runs in one thread. Each thread has a value of its own, as models may be called from several."""

    def __init__(self) -> None:
        self.counts: _Counts = ()
        self.running: Convolves | None = None


_now = _OfThread()


class Calls:
    """Counts how often each module of one model is called in the current forward, in each thread.

    Counting calls tells which call site a call belongs to.
    """

    @contextmanager
    def counted(self) -> Iterator[_CallCounts]:
        """Count the calls in one forward."""
        before = _now.counts
        counts: _CallCounts = {}
        _now.counts = (*before, (self, counts))
        try:
            yield counts
        finally:
            _now.counts = before

    @property
    def counts(self) -> _CallCounts | None:
        """The counts of the innermost forward of the model in this thread; None if none is running."""
        for calls, counts in reversed(_now.counts):
            if calls is self:
                return counts
        return None


def running() -> Convolves | None:
    """The innermost code in this thread whose calls of `F.conv2d` have binarizers; None if there is none."""
    return _now.running


@contextmanager
def binarizing(code: Convolves) -> Iterator[None]:
    """Let `code` compute the calls of `F.conv2d` that are made directly, not by other such code."""
    with _as_running(code), _Convolutions():
        yield


def plainly() -> AbstractContextManager[None]:
    """Let `F.conv2d` compute what it always does."""
    return nullcontext() if _now.running is None else _as_running(None)


@contextmanager
def _as_running(code: Convolves | None) -> Iterator[None]:
    before = _now.running
    _now.running = code
    try:
        yield
    finally:
        _now.running = before


def resumable(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which when it is called later, in any thread, runs as if it was called here.

    Code that is running then counts its calls from the call site at which it is now.
    """
    counts, code = _copied(_now.counts), _now.running
    if not counts and code is None:
        return function

    def resumed(*args: Any, **kwargs: Any) -> Any:
        before = _now.counts
        _now.counts = _copied(counts)
        try:
            with _as_running(None) if code is None else binarizing(code):
                return function(*args, **kwargs)
        finally:
            _now.counts = before

    return resumed


def _copied(counts: _Counts) -> _Counts:
    return tuple((calls, copy(of_calls)) for calls, of_calls in counts)


def still_running(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which belongs to the code that is running, although an autograd function calls it."""
    code = _now.running
    if code is None:
        return function

    def inside(*args: Any, **kwargs: Any) -> Any:
        with binarizing(code):
            return function(*args, **kwargs)

    return inside


class _Convolutions(TorchFunctionMode):
    """Lets the code that is running compute the calls of `F.conv2d`.

    Autograd functions that this code calls are no part of it: their backwards know of no binarizers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._in_function = is_in_autograd_function()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        code = _now.running
        if code is not None and func in _CONV2D:
            if is_in_autograd_function() and not self._in_function:
                code.check_has_no_site(_weight(*args, **(kwargs or {})))
                return func(*args, **(kwargs or {}))
            return code.convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _weight(*args: Any, **kwargs: Any) -> Any:
    return args[1] if len(args) > 1 else kwargs["weight"]
