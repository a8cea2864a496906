"""Detects random numbers that a graph cannot repeat: from the system, or from torch with a new seed."""

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
        and not tracer.position.is_kept_whole
        and not _is_importing()
        and what not in tracer.random_sources
    ):
        tracer.random_sources.append(what)


def _is_importing() -> bool:
    """Whether a module is being imported: the numbers it draws for itself are drawn once in a process."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame.f_back is not None


def _noted(module: ModuleType, name: str, what: str, draw: Callable[[], Any] | None = None) -> Replacement:
    """A replacement of ``module.name`` that notes its calls as `what`.

    `draw` calls it, to check that it is reached; by default with too many arguments, because setting a seed
    would change the user's random numbers on all devices.
    """
    draw = draw or (lambda: getattr(module, name)(None, None))
    return Replacement(module, name, partial(_noting, what), partial(_is_noted, what, draw))


def _is_noted(what: str, draw: Callable[[], Any], sample: Sample) -> bool:
    sample.tracer.random_sources.clear()
    with suppress(TypeError):
        draw()
    return what in sample.tracer.random_sources


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
"""Functions that draw random numbers from the system, also as a seed, or that set a seed of torch.

Generators that the code creates with a fixed seed are not among them: they draw the same numbers in each run.
"""
