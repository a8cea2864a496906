"""Random numbers that no graph can draw again: of Python, of numpy, and of torch after a seed is set."""

import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any

import torch

from fxbin.tracing.patches.replacement import Replacement, Sample
from fxbin.tracing.values.active import active_tracer, paused

_UNSEEDED = "random.Random without a seed"


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


def _noting(what: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def draw(*args: Any, **kwargs: Any) -> Any:
        _note(what)
        return original(*args, **kwargs)

    return draw


def _seed(original: Callable[..., Any]) -> Callable[..., Any]:
    def seed(generator: random.Random, a: Any = None, *version: Any, **options: Any) -> None:
        if a is None:
            _note(_UNSEEDED)
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


def _noted(module: ModuleType, name: str, what: str, draw: Callable[[], Any] | None = None) -> Replacement:
    """``module.name`` is noted as `what`. `draw` comes to it; if not given, a call that is refused does.

    To set a seed would change what the user draws, on all devices.
    """
    draw = draw or (lambda: getattr(module, name)(None, None))
    return Replacement(module, name, partial(_noting, what), partial(_is_noted, what, draw))


def _is_noted(what: str, draw: Callable[[], Any], sample: Sample) -> bool:
    sample.tracer.chance.clear()
    with suppress(TypeError):
        draw()
    return what in sample.tracer.chance


RANDOM = (
    _noted(os, "urandom", "os.urandom", lambda: os.urandom(1)),
    _noted(random, "_urandom", "os.urandom", lambda: random.SystemRandom().random()),
    _noted(torch.random, "fork_rng", "torch.random.fork_rng"),
    *(
        _noted(module, name, f"torch.{name}")
        for name in ("manual_seed", "seed", "initial_seed", "set_rng_state")
        for module in (torch, torch.random)
    ),
    Replacement(random.Random, "seed", _seed, partial(_is_noted, _UNSEEDED, random.Random)),
)
"""Where code asks the system for random numbers, be it for a seed, or sets that of torch.

A generator that the code makes with a seed of its own draws the same numbers in each run.
"""


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
