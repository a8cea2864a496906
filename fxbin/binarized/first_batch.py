"""Under torch.compile, an eager forward before the compiled one initialises activation scales."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch._C._dynamo.eval_frame import (
    _FrameAction,
    _FrameExecStrategy,
    get_eval_frame_callback,
    set_code_exec_strategy,
)

from fxbin.binarized.effects_undone import effects_undone
from fxbin.binarized.state import BinarizationState
from fxbin.binarizers import ActivationBinarizer, Binarizer
from fxbin.binarizers.binarizer import check_for_inference

F = TypeVar("F", bound=Callable[..., Any])


def _uncompiled(function: F) -> F:
    """Decorator: `torch.compile` runs this function as it is; what it calls is compiled as ever.

    What ``torch.compiler.disable(recursive=False)`` does; but that would load the compiler on import, and
    would also stop a compiler that comes across the function inside what it compiles.
    """
    set_code_exec_strategy(function.__code__, _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.DEFAULT))
    return function


class StartsScales(nn.Module):
    """A module that, if it is compiled, runs twice for the first training batch after a stage switch.

    The code that initialises a scale runs for one batch only. In compiled code it would need a separate
    graph, which takes as long to compile as the others. So that batch first runs eagerly, with no effect
    except to initialise the scales, and ``torch.compile(model)`` compiles only once for each switch. If
    `activation_init_batches` is above 1, each of these batches runs twice.

    It uses the attribute that `nn.Module.__call__` prefers to `forward`, and that ``nn.Module.compile`` sets.
    A compiler that traces through the call, as it does when the model is a part of the compiled module, does
    not read it: it compiles the initialisation as well, and then once more without. The numbers are the same.
    """

    binarization: BinarizationState
    """The binarizers whose scales are initialised."""

    _tried: frozenset[tuple[str, int]] = frozenset()
    """The value of `_waiting` before the last eager forward."""

    @property
    @_uncompiled
    def _compiled_call_impl(self) -> Callable[..., Any] | None:
        # Read twice in each call, so reading it must not change anything.
        compiled: Callable[..., Any] | None = vars(self).get(_COMPILED)
        is_compiled = compiled is not None or get_eval_frame_callback()
        if not is_compiled:
            return compiled
        return self._call_compiled

    @_compiled_call_impl.setter
    def _compiled_call_impl(self, compiled: Callable[..., Any] | None) -> None:
        vars(self)[_COMPILED] = compiled

    @_uncompiled
    def _call_compiled(self, *args: Any, **kwargs: Any) -> Any:
        unfinished: list[ActivationBinarizer] = []
        try:
            if _disabled_for(type(self)._get_ready)(self, args, kwargs):
                unfinished = _disabled_for(type(self)._start_scales)(self, *args, **kwargs)
            # Otherwise the compiled forward would count this batch as the next of `init_batches`.
            _set_initialized(unfinished, True)
            return (vars(self).get(_COMPILED) or self._call_impl)(*args, **kwargs)
        finally:
            _set_initialized(unfinished, False)
            _disabled_for(type(self)._unsettle)(self)

    def _start_scales(self, *args: Any, **kwargs: Any) -> list[ActivationBinarizer]:
        """Run the batch eagerly to initialise scales; return binarizers that need further batches."""
        # Only once for each: a call site that training never runs would otherwise need it in every batch.
        self._tried = self._waiting()
        with torch.no_grad(), effects_undone(self, keep_starts=True):
            self._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]
        return [self.binarization.sites[name].activation for name, _ in self._waiting() - self._tried]

    def _get_ready(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Prepare a compiled call with checks that compiled code omits; return whether scales may start."""
        binarizers = self._binarizers()
        for binarizer in binarizers:
            binarizer.read_flags()
        check_for_inference(binarizers)  # inside, a compiler would turn it into an error of its own
        self._settle(args, kwargs)
        return self.training and not self._waiting() <= self._tried

    def _binarizers(self) -> Iterable[Binarizer]:
        return self.binarization.binarizers if "binarization" in vars(self) else ()

    def _settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Choose the graph for one compiled call, before it."""

    def _unsettle(self) -> None:
        """Drop the choice of `_settle`, after the call."""

    def _waiting(self) -> frozenset[tuple[str, int]]:
        """Names of call sites whose scale the next training batch sets, with the number of batches so far."""
        sites = self.binarization.sites if "binarization" in vars(self) else {}
        return frozenset(
            (name, site.activation.batches_seen)
            for name, site in sites.items()
            if site.activation.awaits_first_batch
        )


@_uncompiled
def _set_initialized(binarizers: list[ActivationBinarizer], value: bool) -> None:
    for binarizer in binarizers:
        binarizer._is_scale_initialized = value


@functools.cache
@_uncompiled
def _disabled_for(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, excluded from compilation with all that it calls."""
    disabled: Callable[..., Any] = torch.compiler.disable(method)
    return disabled


_COMPILED = "_compiled_call_impl"
