"""Under torch.compile, activation scales are started by an eager pass in front of the compiled one."""

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
    """A module that runs its graph twice for the first training batch after a switch, if it is compiled.

    What starts a scale is needed for one batch and then never again. In the compiled graph it would cost a
    graph of its own, compiled as long as the others. So that batch goes through the graph eagerly first, with
    no other effect than to start the scales, and ``torch.compile(model)`` compiles once for each switch.

    It goes by the attribute that `nn.Module.__call__` prefers to `forward`, which is also what
    ``nn.Module.compile`` sets. A compiler that looks through the call, as it does when the model is a part of
    what is compiled, never asks for it: it compiles the start too, and once more without. The numbers are the
    same.

    Of several such batches (`activation_init_batches`) each goes through it twice.
    """

    binarization: BinarizationState

    _tried: frozenset[tuple[str, int]] = frozenset()
    """What waited when an eager pass was last made."""

    @property
    @_uncompiled
    def _compiled_call_impl(self) -> Callable[..., Any] | None:
        # Read twice at each call, so nothing may change here.
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
            # Else the compiled pass would take this batch for the next one that a start is made of.
            _set_initialized(unfinished, True)
            return (vars(self).get(_COMPILED) or self._call_impl)(*args, **kwargs)
        finally:
            _set_initialized(unfinished, False)
            _disabled_for(type(self)._unsettle)(self)

    def _start_scales(self, *args: Any, **kwargs: Any) -> list[ActivationBinarizer]:
        """Start what starts with this batch; return those whose start later batches take part in too."""
        # Once for each: a call site that training never runs would have it done for every batch.
        self._tried = self._waiting()
        with torch.no_grad(), effects_undone(self, but_starts=True):
            self._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]
        return [self.binarization.sites[name].activation for name, _ in self._waiting() - self._tried]

    def _get_ready(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Before a compiled call: look at what compiled code does not; return whether scales are to start."""
        binarizers = self._binarizers()
        for binarizer in binarizers:
            binarizer.read_flags()
        check_for_inference(binarizers)  # inside, a compiler would make its own error of it
        self._settle(args, kwargs)
        return self.training and not self._waiting() <= self._tried

    def _binarizers(self) -> Iterable[Binarizer]:
        return self.binarization.binarizers if "binarization" in vars(self) else ()

    def _settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Choose what runs, for one call that is compiled."""

    def _unsettle(self) -> None:
        """Choose again."""

    def _waiting(self) -> frozenset[tuple[str, int]]:
        """The call sites whose next training batch sets their scale, with how many batches did before."""
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
    """`method`, which no compiler is to look at."""
    disabled: Callable[..., Any] = torch.compiler.disable(method)
    return disabled


_COMPILED = "_compiled_call_impl"
