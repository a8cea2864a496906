"""Records calls that become one node, whatever runs inside: layers of torch, leaf modules, islands."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from fxbin import torch_private
from fxbin.graph.calls.structure import UnknownStructureError, check_structure, structure
from fxbin.graph.containers import leaves, map_nested
from fxbin.graph.record import OpCall, set_ops, set_spec
from fxbin.original.plain_conv2d import is_plain_conv2d
from fxbin.tracing.recorder.assumptions import Assumptions
from fxbin.tracing.recorder.attributes import Attributes, traced
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.random_kept import python_random_kept
from fxbin.tracing.recorder.recorder import Args, Kwargs, Recorder
from fxbin.tracing.recorder.run_on_ones import run_on_ones
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import as_asked, raise_bug
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.operands import map_results, origin_node, plain_values, specs
from fxbin.tracing.values.tensor import TracedTensor

_length = len  # while a model is traced, the built-in is another one


class KeptWhole:
    """Decides which modules are kept whole, and records their calls with the operators that run inside.

    These are layers of torch, modules of the classes `leaf_modules`, and `islands`, but never `entry`, the
    module whose forward is recorded.
    """

    def __init__(
        self,
        recorder: Recorder,
        attributes: Attributes,
        position: Position,
        assumptions: Assumptions,
        *,
        entry: nn.Module,
        leaf_modules: tuple[type[nn.Module], ...],
        islands: frozenset[nn.Module],
    ) -> None:
        self._recorder, self._graph = recorder, recorder.graph
        self._attributes, self._position, self._assumptions = attributes, position, assumptions
        self._entry = entry
        self._leaf_modules = leaf_modules
        self._islands = islands

    def call_function(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record ``target(*args, **kwargs)`` as one node; `run` does the same and shows its operators."""
        outer, self._position.function = self._position.function, target.__name__
        try:
            if self._position.inner_ops is not None:
                return run(*args, **kwargs)
            return self.keep("call_function", target, run, args, kwargs)
        finally:
            self._position.function = outer

    def is_leaf(self, module: nn.Module) -> bool:
        """Whether a call of `module` becomes one node: a layer of torch, a leaf module or an island."""
        if module is self._entry:
            return False
        if self.is_asked_for(module):
            return True
        home = type(module).__module__
        if not home.startswith("torch.nn.modules.") or home == "torch.nn.modules.container":
            return False
        with paused():
            is_changed = any(self._attributes.is_changed(part) for part in module.modules())
        if is_changed:
            return False
        # Hooks of a convolution must remain when the convolution itself is replaced.
        return type(module) is not nn.Conv2d or (is_plain_conv2d(module) and not _has_attachments(module))

    def is_asked_for(self, module: nn.Module) -> bool:
        """Whether `module` is kept whole for another reason than being a layer of torch."""
        return module in self._islands or isinstance(module, self._leaf_modules)

    def call_asked_for(
        self, original: Callable[..., Any], module: nn.Module, path: str, args: Args, kwargs: Kwargs
    ) -> Any:
        """Record a leaf module or an island as one node; it runs on ones if it cannot run without data."""
        with python_random_kept(self._attributes.inventory.generators):
            try:
                run = self._checked(partial(original, module), path)
                result = self.keep("call_module", path, run, args, kwargs)
            except Exception as failure:
                raise_bug(failure)
                if module not in self._islands and not isinstance(failure, ContentError):
                    raise
                if isinstance(failure, ContentError) and failure.module is not None:
                    raise
                try:
                    run = partial(self._run_on_ones, module, path)
                    result = self.keep("call_module", path, run, args, kwargs)
                except Exception as error:
                    raise_bug(error)
                    if module not in self._islands or self._position.caller is None:
                        raise
                    raise self._fault_of_caller(
                        f"what {path} returns depends on the content of tensors"
                    ) from error
        if not self._position.with_data and not isinstance(result, Tensor):
            self._rely_on_structure(module, path, result)
        return result

    def keep(self, kind: str, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record one node of `kind` that calls `target`; `run` does the same and gives the result."""
        node_args, node_kwargs = self._recorder.nodes(args), self._recorder.nodes(kwargs)
        ops: list[OpCall] = []
        self._position.inner_ops = ops
        try:
            # With data, the code around it sees the changes it makes to the containers it is given.
            given = (args, kwargs) if self._position.with_data else (plain_values(args), plain_values(kwargs))
            result = as_asked(run, *given[0], **given[1])
        finally:
            self._position.inner_ops = None
        node = self._graph.create_node(kind, target, node_args, node_kwargs)
        set_ops(node, ops)
        set_spec(node, specs(result))

        def attach(item: Any, origin: Any) -> Any:
            if type(item) is TracedTensor:
                item._node = origin_node(origin)
            elif isinstance(item, int | float) and not self._position.knows_values:
                # It comes from code that is not traced, so it may be any number.
                return self._recorder.value(origin_node(origin), item, of_content=True)
            return item

        return map_results(result, attach, node, self._recorder.item)

    def _checked(self, run: Callable[..., Any], path: str) -> Callable[..., Any]:
        """Wrap `run` to refuse changes to the containers it is given, as a graph gives it others."""
        if self._position.with_data:
            return run

        def checked(*args: Any, **kwargs: Any) -> Any:
            before = [*leaves((args, kwargs))]
            result = run(*args, **kwargs)
            if [*map(id, leaves((args, kwargs)))] != [*map(id, before)]:
                raise self._fault_of_caller(f"{path} changes a list, a dict or an object that it is given")
            return result

        return checked

    def _run_on_ones(self, module: nn.Module, path: str, *args: Any, **kwargs: Any) -> Any:
        with paused():
            run = self._checked(copy.deepcopy(module), path)  # the module may count calls or keep statistics
            result = run_on_ones(run, module, *self._recorder.values(args), **self._recorder.values(kwargs))
        return map_nested(result, lambda x: traced(x, None, tracked=False) if isinstance(x, Tensor) else x)

    def _rely_on_structure(self, module: nn.Module, path: str, result: Any) -> None:
        """Let the graph check the containers in `result`, which the code around `module` relies on."""
        node = next(iter(reversed(self._graph.nodes)))
        while node.target != path:  # after it come the items of its result
            node = node.prev
        try:
            expected = structure(result, may_be_list=module not in self._islands)
        except UnknownStructureError as error:
            raise self._fault_of_caller(f"{path} gives {error}") from None
        if type(result) is list:
            self._assumptions.rely_on_count(node, _length(result))
        self._graph.call_function(check_structure, (node, expected, path))

    def _fault_of_caller(self, message: str) -> ContentError:
        error = ContentError(message)
        error.module = self._position.caller
        return error


def _has_attachments(module: nn.Module) -> bool:
    """Whether `module` has hooks, or a forward that was assigned to it."""
    return bool(any(torch_private.forward_hooks(module)) or "forward" in vars(module))
