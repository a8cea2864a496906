"""Random numbers that no graph can draw again: of Python, of numpy, and of torch after a seed is set."""

import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from fxbin.tracing.active import active_tracer, paused
from fxbin.tracing.by_thread import by_thread, standing_for


@contextmanager
def python_random_kept(generators: Iterable[Any] = ()) -> Iterator[list[str]]:
    """Restore the generators of Python and numpy, and `generators`; in the end the list names those used."""
    with paused():
        before = [(generator, _state(generator)) for generator in (*_of_process().values(), *generators)]
    used: list[str] = []
    try:
        yield used
    finally:
        with paused():
            for generator, state in before:
                if not _same(_state(generator), state):
                    used.append(_name(generator))
                    _restore(generator, state)


@contextmanager
def entropy_noted() -> Iterator[None]:
    """Tell the tracer where code asks the system for random numbers, be it for a seed, or sets that of torch.

    A generator that the code makes with a seed of its own draws the same numbers in each run.
    """
    with ExitStack() as stack:
        for module, name, what in _NOTED:
            stack.enter_context(by_thread(module, {name: _noting(what, vars(module)[name])}))
        stack.enter_context(mock.patch.object(random.Random, "seed", _seed(random.Random.seed)))
        yield


_NOTED: tuple[tuple[ModuleType, str, str], ...] = (
    (os, "urandom", "os.urandom"),
    (random, "_urandom", "os.urandom"),
    (torch.random, "fork_rng", "torch.random.fork_rng"),
    *(
        (module, name, f"torch.{name}")
        for name in ("manual_seed", "seed", "initial_seed", "set_rng_state")
        for module in (torch, torch.random)
    ),
)


def _noting(what: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @standing_for(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        _note(what)
        return original(*args, **kwargs)

    return draw


def _seed(original: Callable[..., Any]) -> Callable[..., Any]:
    def seed(generator: random.Random, a: Any = None, *version: Any, **options: Any) -> None:
        if a is None:
            _note("random.Random without a seed")
        original(generator, a, *version, **options)

    return seed


def _note(what: str) -> None:
    tracer = active_tracer()
    if tracer is not None and not tracer.is_inside and not _is_importing() and what not in tracer.chance:
        tracer.chance.append(what)


def _is_importing() -> bool:
    """Whether a module is being imported: what it draws for itself is drawn once in a process."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame.f_back is not None


def generator_types() -> tuple[type, ...]:
    """Classes of objects that draw random numbers from a state of their own."""
    numpy = sys.modules.get("numpy")
    of_numpy = () if numpy is None else (numpy.random.Generator, numpy.random.RandomState)
    return (random.Random, torch.Generator, *of_numpy)


def _of_process() -> dict[str, Any]:
    """The generators behind functions such as `random.random` and `numpy.random.rand`."""
    found = {"random": _owner(random.random)}
    if "numpy" in sys.modules:
        found["numpy.random"] = _owner(sys.modules["numpy"].random.rand)
    return found


def _owner(method: Any) -> Any:
    return method.__self__


def is_of_its_own(generator: Any) -> bool:
    """Whether `generator` is none of these, and has a state at all."""
    is_known = any(generator is known for known in _of_process().values())
    return not is_known and not isinstance(generator, random.SystemRandom)


def _name(generator: Any) -> str:
    for name, known in _of_process().items():
        if generator is known:
            return name
    module = type(generator).__module__
    return f"a {'numpy.random' if module.startswith('numpy') else module}.{type(generator).__name__}"


def _state(generator: Any) -> Any:
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.getstate() if hasattr(generator, "getstate") else generator.get_state(legacy=False)


def _restore(generator: Any, state: Any) -> None:
    if hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    elif hasattr(generator, "setstate"):
        generator.setstate(state)
    else:
        generator.set_state(state)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return all(_same(left[key], right[key]) for key in left)
    same = left == right
    return bool(same.all()) if hasattr(same, "all") else bool(same)
