"""Restores random number generators after code has run."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fxbin.original.generators import generators_of_process
from fxbin.tracing.values.active import paused


@contextmanager
def python_random_kept(generators: Iterable[Any] = ()) -> Iterator[list[str]]:
    """Restore the generators of Python and numpy and `generators`; yield a list, later of those used."""
    with paused():
        all_of_them = (*generators_of_process().values(), *generators)
        before = [(generator, _state(generator)) for generator in all_of_them]
    used: list[str] = []
    try:
        yield used
    finally:
        with paused():
            for generator, state in before:
                if not _same(_state(generator), state):
                    used.append(_name(generator))
                    _restore(generator, state)


def _name(generator: Any) -> str:
    for name, known in generators_of_process().items():
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
