"""Random numbers that no graph can draw again: of Python, of numpy, and of torch after a seed is set."""

import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

import torch

from fxbin import torch_private
from fxbin.tracing.patches.replacement import Replacement, Sample
from fxbin.tracing.values.active import active_tracer
from fxbin.tracing.values.bugs import speaks_for_user

_UNSEEDED = "random.Random without a seed"


def _noting(what: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def draw(*args: Any, **kwargs: Any) -> Any:
        _note(what)
        return original(*args, **kwargs)

    return draw


def _seed(original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def seed(generator: random.Random, a: Any = None, *version: Any, **options: Any) -> None:
        if a is None:
            _note(_UNSEEDED)
        original(generator, a, *version, **options)

    return seed


def _note(what: str) -> None:
    tracer = active_tracer()
    if (
        tracer is not None
        and not tracer.position.is_inside
        and not _is_importing()
        and what not in tracer.chance
    ):
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
    _noted(*torch_private.place("system_random"), "os.urandom", lambda: random.SystemRandom().random()),
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
