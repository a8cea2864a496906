"""Under torch.compile, an eager forward before the compiled one initializes activation scales."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from fxbin import torch_private
from fxbin.binarized.effects_undone import effects_undone
from fxbin.binarized.state import BinarizationState
from fxbin.binarizers import ActivationBinarizer, Binarizer
from fxbin.binarizers.binarizer import check_for_inference
from fxbin.torch_private import COMPILED_CALL


class InitializesScales(nn.Module):
    """A module that, if it is compiled, runs twice for the first training batch after a stage switch.

    The code that initializes a scale runs for one batch only. In compiled code it would need a separate
    graph, which takes as long to compile as the others. So that batch first runs eagerly, with no effect
    except to initialize the scales, and ``torch.compile(model)`` compiles only once for each switch. If
    `activation_init_batches` is above 1, each of these batches runs twice.

    It uses the attribute that `nn.Module.__call__` prefers to `forward`, and that ``nn.Module.compile`` sets.
    A compiler that traces through the call, as it does when the model is a part of the compiled module, does
    not read it: it compiles the initialization as well, and then once more without. The numbers are the same.
    """

    binarization: BinarizationState
    """The binarizers whose scales are initialized."""

    _tried: frozenset[tuple[str, int]] = frozenset()
    """What `_waiting` gave before the last eager forward."""

    @property
    def _compiled_call_impl(self) -> Callable[..., Any] | None:
        # Read twice in each call, so reading it must not change anything.
        compiled: Callable[..., Any] | None = vars(self).get(COMPILED_CALL)
        is_compiled = compiled is not None or torch_private.compiler_callback()
        if not is_compiled:
            return compiled
        return self._call_compiled

    @_compiled_call_impl.setter
    def _compiled_call_impl(self, compiled: Callable[..., Any] | None) -> None:
        vars(self)[COMPILED_CALL] = compiled

    def _call_compiled(self, *args: Any, **kwargs: Any) -> Any:
        unfinished: list[ActivationBinarizer] = []
        try:
            if _disabled_for(type(self)._prepare_call)(self, args, kwargs):
                unfinished = _disabled_for(type(self)._initialize_scales)(self, *args, **kwargs)
            # Otherwise the compiled forward would count this batch as the next of `init_batches`.
            _set_initialized(unfinished, True)
            return (vars(self).get(COMPILED_CALL) or torch_private.plain_call(self))(*args, **kwargs)
        finally:
            _set_initialized(unfinished, False)
            _disabled_for(type(self)._unpin_graph)(self)

    def _initialize_scales(self, *args: Any, **kwargs: Any) -> list[ActivationBinarizer]:
        """Run the batch eagerly to initialize scales; return binarizers that need further batches."""
        # Only once for each: a call site that training never runs would otherwise need it in every batch.
        self._tried = self._waiting()
        with torch.no_grad(), effects_undone(self, keep_initialization=True):
            torch_private.plain_call(self)(*args, **kwargs)
        return [self.binarization.sites[name].activation for name, _ in self._waiting() - self._tried]

    def _prepare_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Prepare a compiled call by checks that compiled code omits; whether to initialize scales first."""
        binarizers = self._binarizers()
        for binarizer in binarizers:
            binarizer.read_flags()
        check_for_inference(binarizers)  # in compiled code, the compiler would replace the error by its own
        self._pin_graph(args, kwargs)
        return self.training and not self._waiting() <= self._tried

    def _binarizers(self) -> Iterable[Binarizer]:
        return self.binarization.binarizers if "binarization" in vars(self) else ()

    def _pin_graph(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Choose the graph of one compiled call before it begins."""

    def _unpin_graph(self) -> None:
        """Release the graph that `_pin_graph` has chosen, after the call."""

    def _waiting(self) -> frozenset[tuple[str, int]]:
        """Names of call sites whose scale the next training batch sets, with the number of batches so far."""
        sites = self.binarization.sites if "binarization" in vars(self) else {}
        return frozenset(
            (name, site.activation.batches_seen)
            for name, site in sites.items()
            if site.activation.awaits_first_batch
        )


def _set_initialized(binarizers: list[ActivationBinarizer], value: bool) -> None:
    for binarizer in binarizers:
        binarizer._is_scale_initialized = value


@functools.cache
def _disabled_for(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, excluded from compilation with all that it calls."""
    disabled: Callable[..., Any] = torch.compiler.disable(method)
    return disabled


@functools.cache
def hide_from_compilers() -> None:
    """Keep `torch.compile` out of the initialization of scales, but not out of what that calls.

    ``torch.compiler.disable(recursive=False)`` does the same, but it would load the compiler, and would also
    stop a compiler that finds these functions inside what it compiles.
    """
    strategy = torch_private.CodeStrategy(torch_private.CodeAction.SKIP, torch_private.CodeAction.DEFAULT)
    compiled_call = vars(InitializesScales)[COMPILED_CALL]
    disabled_for: Any = _disabled_for
    for function in (
        compiled_call.fget, InitializesScales._call_compiled, _set_initialized, disabled_for.__wrapped__
    ):  # fmt: skip
        torch_private.set_code_strategy(function.__code__, strategy)
    torch_private.compiler_callback()  # looked up now: in a compiled call, that would be compiled too
