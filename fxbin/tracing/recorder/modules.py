"""Records calls of modules: traces their code, or keeps them whole as one node."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from fxbin import torch_private
from fxbin.errors import TraceError
from fxbin.graph.containers import map_nested
from fxbin.graph.scope import Scope
from fxbin.tracing.module_call import ModuleCall, without_data
from fxbin.tracing.recorder.assumptions import Assumptions
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.kept_whole import KeptWhole
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.reads import Reads
from fxbin.tracing.recorder.recorder import Args, Call, Kwargs, Recorder
from fxbin.tracing.recorder.run_on_ones import run_on_ones
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.content import ContentError


class Modules:
    """Traces each module that is called, or keeps it whole."""

    def __init__(
        self,
        recorder: Recorder,
        attributes: Attributes,
        position: Position,
        assumptions: Assumptions,
        kept_whole: KeptWhole,
        reads: Reads,
    ) -> None:
        self._recorder, self._attributes, self._position = recorder, attributes, position
        self._assumptions, self._kept_whole, self._reads = assumptions, kept_whole, reads
        self.calls: list[ModuleCall] = []
        """The calls of a run with data."""

    def call(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """Record ``module(*args, **kwargs)``; `original` is the unpatched ``nn.Module.__call__``."""
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            return original(module, *args, **kwargs)
        running = self._position.scope
        scope = self._position.enter(module)
        call = None
        try:
            if self._is_noted(module):
                call = self._begin_call(module, running, scope, args, kwargs)
            return self._call(original, module, args, kwargs)
        except ContentError as error:
            error.module = error.module or module
            raise
        finally:
            if call is not None:
                call.end = len(self._position.ops)
            self._position.leave()

    def _call(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        if isinstance(module, torch.jit.ScriptModule):
            return self._call_scripted(module, args, kwargs)
        if self._position.is_kept_whole:
            return original(module, *args, **kwargs)
        if not self._kept_whole.is_leaf(module):
            self._reads.follow(module)
            self._look_at_hooks(module)
            return original(module, *args, **kwargs)
        path = self._attributes.module_path(module)
        if self._kept_whole.is_asked_for(module):
            return self._kept_whole.call_asked_for(original, module, path, args, kwargs)
        return self._kept_whole.keep("call_module", path, partial(original, module), args, kwargs)

    def _call_scripted(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        path = self._attributes.module_path(module)
        run = partial(run_on_ones, copy.deepcopy(module), module)
        return self._recorder.record(Call("call_module", path, run, "script", tracked=False), args, kwargs)

    def _is_noted(self, module: nn.Module) -> bool:
        position = self._position
        return position.with_data and not position.is_kept_whole and not self._kept_whole.is_asked_for(module)

    def _begin_call(
        self, module: nn.Module, running: Scope, scope: Scope, args: Args, kwargs: Kwargs
    ) -> ModuleCall:
        path = self._attributes.module_path(module)
        caller = self._attributes.module_path(running[-1].module) if running else None
        with paused():
            given = map_nested(args, without_data), map_nested(kwargs, without_data)
        call = ModuleCall(path, caller, running, scope, given[0], given[1], begin=len(self._position.ops))
        self.calls.append(call)
        return call

    def _look_at_hooks(self, module: nn.Module) -> None:
        """Note forward hooks of a module whose code is traced; raise TraceError for backward hooks."""
        hooks = [hook for held in torch_private.forward_hooks(module) for hook in held.values()]
        if hooks:
            names = ", ".join(getattr(hook, "__qualname__", type(hook).__name__) for hook in hooks)
            self._assumptions.note("hooks, for what they do to tensors", names)
        if not self._position.with_data and any(torch_private.backward_hooks(module)):
            raise TraceError(
                f"{self._position.path} has backward hooks, which a graph of its operators "
                "cannot call: remove them, or keep the module whole with `leaf_modules`"
            )
