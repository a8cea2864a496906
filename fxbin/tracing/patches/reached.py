"""Checks that torch still calls the replacements of its functions.

Another version of torch may call something else. The tracer would then miss what a model does there, and the
graph would lack it, without an error.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from fxbin.errors import TorchVersionError
from fxbin.tracing.patches.asked import asking_checks
from fxbin.tracing.patches.patching import REPLACEMENTS, patched
from fxbin.tracing.patches.replacement import Sample, node_of
from fxbin.tracing.recorder.attributes import traced
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.tensor import TracedTensor

NEWEST_TESTED = "2.14.1"
_neg = torch.neg  # bound early


@cache
def check_replacements() -> None:
    """Check all replacements with a small call each, once in a process.

    Raises:
        TorchVersionError: torch does not call one of them.
    """
    # A thread has its own gradient mode, autocast and default device: settings of the caller do not change
    # the calls, and a call that fails half way does not change settings of the caller.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_try_all).result()


def _try_all() -> None:
    tracer = Tracer(nn.Module())
    with warnings.catch_warnings(action="ignore"):  # deprecated functions are checked as well
        # Compiled before any function of torch is replaced: torch.jit knows them by their identity.
        scripted = torch.jit.CompilationUnit("def double(x):\n    return x * 2\n").double
        with patched(tracer):
            for name, is_reached in _checks():
                with paused():
                    x = traced(torch.ones(1, 1, device="meta"), tracer.graph.placeholder("x"), tracked=True)
                _check(name, is_reached, Sample(tracer, x, scripted))


def _checks() -> list[tuple[str, Callable[[Sample], object]]]:
    """All checks that a tracer sees a call, each with the name of what torch must call for that."""
    return [
        *((str(replacement), replacement.is_reached) for replacement in REPLACEMENTS),
        *asking_checks(),
        ("torch.neg", lambda s: node_of(torch.neg(s.x))),
        ("torch.nn.functional.relu", lambda s: node_of(F.relu(s.x))),
        ("TorchFunctionMode", _sees_plain_tensors),
    ]


def _sees_plain_tensors(_: Sample) -> bool:
    with paused():
        x = torch.ones(1)
    return type(_neg(x)) is type(x.neg()) is type(x * 2) is TracedTensor


def _check(name: str, is_reached: Callable[[Sample], object], sample: Sample) -> None:
    cause = None
    try:
        if is_reached(sample):
            return
    except Exception as error:  # noqa: BLE001  (any error of torch about a traced tensor)
        cause = error
    raise TorchVersionError(
        f"torch {torch.__version__} no longer calls what fxbin puts in place of {name}, so that "
        "what a model does there would be left out of its graph: install a version that fxbin is tested with "
        f'(`pip install "torch<={NEWEST_TESTED}"`), and report this'
    ) from cause
