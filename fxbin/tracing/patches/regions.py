"""Records regions such as `torch.no_grad`, `torch.enable_grad` and `torch.autocast`.

The graph enters and leaves them as the code does. The setting of the caller is read when the graph runs, and
restored: the graph of a model that is called without gradients must not enable them.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from fxbin import torch_private
from fxbin.errors import TraceError
from fxbin.graph.containers import map_nested
from fxbin.tracing.patches.asked import is_of_model
from fxbin.tracing.patches.replacement import Replacement, Sample
from fxbin.tracing.values.active import active_tracer
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.operands import plain_values
from fxbin.tracing.values.stand_ins import original_of


def _is_grad_enabled(original: Callable[[], bool]) -> Callable[[], Any]:
    def is_grad_enabled() -> Any:
        tracer = active_tracer()
        if tracer is None or tracer.position.knows_values:
            return original()
        if is_of_model(sys._getframe(1)):
            if not tracer.answers.sets_gradients:
                tracer.questions.of_state(original, (), original())
            return original()
        # Regions of torch restore it. Not guarded, as torch asks to save memory: it is valid in both cases.
        return TracedValue(tracer, tracer.graph.call_function(original), original(), guarded=False)

    return is_grad_enabled


def _set_grad_enabled(original: Callable[[bool], None]) -> Callable[[Any], None]:
    @speaks_for_user
    def set_grad_enabled(mode: Any) -> None:
        tracer = active_tracer()
        if tracer is None or tracer.position.is_kept_whole:
            original(mode)
        elif type(mode) is TracedValue:
            tracer.graph.call_function(original, (mode._node,))
            tracer.answers.sets_gradients = False
            original(mode._value)
        else:
            tracer.graph.call_function(original, (mode,))
            tracer.answers.sets_gradients = True
            tracer.answers.has_enabled_gradients |= bool(mode)
            original(mode)

    return set_grad_enabled


def _init_autocast(original: Callable[..., None]) -> Callable[..., None]:
    def __init__(  # noqa: N807  (it is one)
        self: Any, device_type: Any, dtype: Any = None, enabled: Any = True, cache_enabled: Any = None
    ) -> None:
        # The arguments as given, because the device, and with it the default dtype, may differ at run time.
        self._given = (device_type, dtype, enabled, cache_enabled)
        original(self, *plain_values(self._given))

    return __init__


def _enter_autocast(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def __enter__(self: Any) -> Any:  # noqa: N807  (it is one)
        tracer = active_tracer()
        if tracer is not None and not tracer.position.is_kept_whole:
            # A region that was created before the trace, such as a decorator of forward, has its options.
            was = torch_private.autocast_options(self)
            given = vars(self).get("_given", was)
            given = map_nested(given, lambda x: x._node if type(x) is TracedValue else x)
            entry = tracer.graph.call_function(torch_private.enter_autocast, given)
            # It may be entered again before it is left.
            vars(self).setdefault("_traced_entries", []).append(entry)
        return original(self)

    return __enter__


def _exit_autocast(original: Callable[..., Any]) -> Callable[..., Any]:
    def __exit__(self: Any, *error: Any) -> Any:  # noqa: N807  (it is one)
        tracer = active_tracer()
        if tracer is not None and not tracer.position.is_kept_whole:
            entries = vars(self).get("_traced_entries")
            if not entries:
                raise TraceError("the code leaves an autocast region that it has not entered in this forward")
            tracer.graph.call_function(torch_private.exit_autocast, (entries.pop(),))
        return original(self, *error)

    return __exit__


def _keeps_options(_: Sample) -> bool:
    return "_given" in vars(torch.autocast("cpu"))


def _without_gradients(sample: Sample) -> bool:
    with torch.no_grad():
        return getattr(sample.last.target, "__name__", "") == torch_private.place("set_grad_enabled")[1]


def _notes_question(sample: Sample) -> bool:
    sample.tracer.answers.sets_gradients = False
    torch.is_grad_enabled()
    asked = [getattr(question, "function", None) for question in sample.tracer.questions.all]
    return original_of(torch.is_grad_enabled) in asked


def _casts(sample: Sample, *, left: bool) -> bool:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        entered = sample.last.target is torch_private.enter_autocast
    return sample.last.target is torch_private.exit_autocast if left else entered


REGIONS = (
    Replacement(torch, "is_grad_enabled", _is_grad_enabled, _notes_question),
    Replacement(*torch_private.place("set_grad_enabled"), _set_grad_enabled, _without_gradients),
    Replacement(torch.autocast, "__init__", _init_autocast, _keeps_options),
    Replacement(torch.autocast, "__enter__", _enter_autocast, partial(_casts, left=False)),
    Replacement(torch.autocast, "__exit__", _exit_autocast, partial(_casts, left=True)),
)
