"""Turns example inputs into the placeholders of a graph."""

import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.errors import TraceError
from fxbin.graph.calls.guards import check_given, check_nothing_more, check_passed, check_specialised
from fxbin.graph.record import OpCall, set_ops, set_spec
from fxbin.tracing.recorder.attributes import traced
from fxbin.tracing.recorder.expressions import describe
from fxbin.tracing.recorder.questions import Given, answer_about
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.operands import holds, map_results, origin_node, specs
from fxbin.tracing.values.tensor import TracedTensor

_length = len  # while a model is traced, the built-in is another one
_SIMPLE = (type(None), bool, int, float, str)


def bind(root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """Bind `args` and `kwargs` to the parameters of ``root.forward``; raise TraceError if that fails."""
    signature = inspect.signature(root.forward)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TraceError(
            f"input_info: {len(args)} positional and {sorted(kwargs)} keyword inputs do not fit "
            f"{type(root).__name__}.forward{signature}: {error}. "
            'Give one entry per input, with "keyword" for those passed by name.'
        ) from error


def add_placeholders(tracer: Tracer, bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Add a placeholder for each parameter of ``forward``, and return what to call ``forward`` with.

    A parameter without an example keeps its default, and the graph refuses any other value for it.
    """
    inputs = _Inputs(tracer)
    required: list[fx.Node] = []
    empty: list[fx.Node] = []
    has_default = False
    for name, parameter in bound.signature.parameters.items():
        stars = _stars(parameter)
        if name in bound.arguments:
            default = _default(parameter)
            if not stars and has_default and default is inspect.Signature.empty:
                # Keyword-only in Python; here it follows one with a default, and must have one.
                required.append(tracer.graph.placeholder(name, default_value=...))
                inputs.nodes[name] = required[-1]
                continue
            has_default |= default is not inspect.Signature.empty
            inputs.nodes[name] = tracer.graph.placeholder(stars + name, default_value=default)
        elif stars:
            empty.append(tracer.graph.placeholder(stars + name))
        else:
            default = parameter.default if isinstance(parameter.default, _SIMPLE) else ...
            inputs.defaults[name] = tracer.graph.placeholder(name, default_value=default)
            has_default = True
    for node in empty:
        tracer.graph.call_function(check_nothing_more, (node, str(node.target)))
    for node in required:
        tracer.graph.call_function(check_passed, (node, node.name))
    for name, node in inputs.nodes.items():
        bound.arguments[name] = inputs.trace(node, bound.arguments[name], bound.signature.parameters[name])
    for node in inputs.defaults.values():
        inputs.fix(node, node.args[0])
    return bound.args, bound.kwargs


def _stars(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "*"
    return "**" if parameter.kind is parameter.VAR_KEYWORD else ""


def _default(parameter: inspect.Parameter) -> Any:
    """The default if generated code can contain it; otherwise ``empty``, so that the argument is required."""
    return parameter.default if isinstance(parameter.default, _SIMPLE) else inspect.Signature.empty


class _Inputs:
    """Turns example inputs into traced tensors, and numbers them as NNCF does."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._count = 0
        self.nodes: dict[str, fx.Node] = {}
        self.defaults: dict[str, fx.Node] = {}

    def fix(self, node: fx.Node, value: Any) -> None:
        """Let the graph refuse any other `value` of `node`; ``...`` is a default it cannot contain."""
        what = describe(node) if node.op == "call_function" else f"the argument {node.target!r}"
        self._tracer.graph.call_function(check_specialised, (node, value, what))

    def trace(self, node: fx.Node, example: Any, parameter: inspect.Parameter) -> Any:
        """The value that user code gets in place of `example`."""
        with paused():
            set_spec(node, specs(example))
            if isinstance(example, Tensor):
                # Only tensors that are arguments themselves are inputs of NNCF's graph.
                set_ops(node, [OpCall((), "nncf_model_input", self._count, tracked=True)])
                self._count += 1
                if parameter.default is None:
                    self._tracer.graph.call_function(check_given, (node, parameter.name))
                return self._traced(example, node, tracked=True)
            if isinstance(example, _SIMPLE):
                self.fix(node, example)
                return example
            if isinstance(example, (list, tuple, dict)):
                # The code was traced with this number of items, and may do something else with more.
                self.fix(self._tracer.graph.call_function(_length, (node,)), _length(example))
            return map_results(example, self._part, node, self._tracer.recorder.item)

    def _part(self, item: Any, origin: Any) -> Any:
        if isinstance(item, _SIMPLE):
            self.fix(origin_node(origin), item)
        if isinstance(item, Tensor):
            return self._traced(item, origin_node(origin), tracked=False)
        hidden = [name for name, value in getattr(item, "__dict__", {}).items() if holds(value, Tensor)]
        if hidden and not self._tracer.position.with_data:
            raise TraceError(
                f"an input of type {type(item).__name__} holds tensors ({', '.join(hidden)}) where fxbin "
                "does not look for them: pass tensors, or tuples, dicts or dataclasses of them"
            )
        return item

    def _traced(self, example: Tensor, node: fx.Node, *, tracked: bool) -> TracedTensor:
        made = traced(self._value(example), node, tracked=tracked)
        made._given, made._requires_grad = Given(example, node), example.requires_grad
        made._kind = answer_about(example, "__class__")
        self._tracer.attributes.inputs[node] = example
        return made

    @speaks_for_user
    def _value(self, example: Tensor) -> Tensor:
        if self._tracer.position.with_data:
            return example.detach().clone()
        return torch.empty_like(example, device="meta")
