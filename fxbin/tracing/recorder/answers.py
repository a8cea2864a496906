"""Answers what is known only when the graph runs, such as ``x.item()``, with values the graph computes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from fxbin.graph.calls.guards import check_learns, register_hook
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.expressions import describe, steps_back
from fxbin.tracing.recorder.location import is_asked_by_torch, user_location
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.questions import Questions, answer_about
from fxbin.tracing.recorder.reads import MISSING
from fxbin.tracing.recorder.recorder import Recorder
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording


_is_grad_enabled = torch.is_grad_enabled  # while a model is traced, it is another function


class Answers:
    """Traced values for questions about tensors; `recording` is the tracer that these values call."""

    def __init__(
        self,
        recording: "Recording",
        recorder: Recorder,
        attributes: Attributes,
        position: Position,
        questions: Questions,
    ) -> None:
        self._recording, self._recorder = recording, recorder
        self._attributes, self._position, self._questions = attributes, position, questions
        self._graph = recorder.graph
        self.sets_gradients = self.has_enabled_gradients = False

    def number_of(self, tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
        """The number that ``tensor.item()`` or ``float(tensor)`` gives when the graph runs."""
        some = _some_number(tensor, read)
        node = self._recorder.node_of(tensor)
        is_item = read is Tensor.item
        read_out = (
            self._graph.call_method("item", (node,)) if is_item else self._graph.call_function(read, (node,))
        )
        return TracedValue(self._recording, read_out, some, of_content=True)

    def device_of(self, tensor: TracedTensor) -> Any:
        """``tensor.device``: that of the model, although traced tensors are on the meta device."""
        device = self._attributes.device
        return device if self._position.knows_values else self._device(tensor, device)

    def _device(self, tensor: TracedTensor, device: torch.device) -> TracedValue:
        node = self._graph.call_function(getattr, (self._recorder.node_of(tensor), "device"))
        return TracedValue(self._recording, node, device)

    def flag_of(self, tensor: TracedTensor, name: str) -> Any:
        """``tensor.requires_grad``, ``is_leaf``, ``grad_fn`` or ``grad``, on which the graph now relies.

        Raises ContentError where code wants more of the last two than whether they are None.
        """
        if self._position.knows_values:
            # Otherwise layers of torch would register hooks on tensors that are never differentiated.
            return False if name == "requires_grad" else getattr(tensor._value, name)
        example = self._example(tensor)
        if example is not None:
            return self._flag_of_example(tensor, example, name)
        if not is_asked_by_torch():  # as torch.utils.checkpoint of torch 2.9 asks whether there is a backward
            self._rely_on_learning(tensor)
        learns = tensor._requires_grad
        is_leaf = not learns or (tensor._node is not None and tensor._node.target == "requires_grad_")
        known = {"requires_grad": learns, "is_leaf": is_leaf, "grad": None}
        return known[name] if name in known else None if is_leaf else _Unknown("grad_fn")

    def _example(self, tensor: TracedTensor) -> Tensor | None:
        """The actual tensor that `tensor` stands for, a tensor of the model or an input, if any."""
        if tensor._node is None:
            # Code may have changed the flag.
            source = tensor._source
            is_changed = source is None or source.requires_grad is not tensor._requires_grad
            return None if is_changed else source
        is_given = tensor._given is not None and tensor._given.node is tensor._node
        return tensor._given.example if is_given else None

    def _flag_of_example(self, tensor: TracedTensor, example: Tensor, name: str) -> Any:
        with paused():
            if name == "grad" and not example.is_leaf:
                return None
            value, answer = getattr(example, name), answer_about(example, name)
        if tensor._source is None:
            self._questions.of_argument(tensor._given.node, name, answer)
        elif id(example) in self._attributes.inventory.tensor_paths:
            self._questions.of_held(self._attributes.inventory.tensor_paths[id(example)], name, answer)
        return value if isinstance(value, bool | None) else _Unknown(name)

    def _rely_on_learning(self, tensor: TracedTensor) -> None:
        """Rely on what decides whether a computed tensor requires a gradient: gradient mode and flags."""
        enabled = self._questions.at_entry(_is_grad_enabled, ())
        self._questions.of_state(_is_grad_enabled, (), enabled)
        if not enabled and not self.has_enabled_gradients and not tensor._requires_grad:
            return
        node = self._recorder.node_of(tensor)
        for step in steps_back(node):
            self._rely_on_flags(step)
        what = f"{describe(node)}.requires_grad in {self._position.path} ({user_location() or 'unknown'})"
        self._graph.call_function(check_learns, (node, tensor._requires_grad, what))

    def _rely_on_flags(self, step: fx.Node) -> None:
        """Rely on the flags of the tensors that the node `step` fetches, or that its module has."""
        found = self._attributes.tensors_of(step)
        for path, tensor in found.items():
            self._questions.of_held(path, "requires_grad", tensor.requires_grad)
        given = self._attributes.inputs.get(step)
        if given is not None:
            self._questions.of_argument(step, "requires_grad", given.requires_grad)

    def class_of(self, tensor: TracedTensor) -> type:
        """``type(tensor)``, on which the graph relies if it is an input."""
        if tensor._given is not None and not self._position.knows_values:
            self._questions.of_argument(tensor._given.node, "__class__", tensor._kind)
        return tensor._kind

    def attribute_of(self, tensor: TracedTensor, name: str) -> Any:
        """An attribute that tensors do not have, but that may have been put on an input."""
        with paused():
            value = getattr(tensor._given.example, name, MISSING)
        if not self._position.knows_values and self._example(tensor) is not None:
            self._questions.of_argument(tensor._given.node, name, value)
        return _found(value, name)

    def attributes_of(self, tensor: TracedTensor, own: dict[str, Any]) -> dict[str, Any]:
        """``vars(tensor)``, of which the code has put `own` on the tensor."""
        if tensor._given is None:
            return own
        if not self._position.knows_values and self._example(tensor) is not None:
            answer = answer_about(tensor._given.example, "__dict__")
            self._questions.of_argument(tensor._given.node, "__dict__", answer)
        given: dict[str, Any] = vars(tensor._given.example)
        return given | own

    def add_hook(self, tensor: TracedTensor, hook: Callable[[Tensor], Any]) -> None:
        """Record ``tensor.register_hook(hook)``; the hook is called whenever gradients are computed."""
        if not self._position.is_kept_whole:
            node = self._recorder.node_of(tensor)
            held = self._attributes.fetch_object(hook, self._graph)
            self._graph.call_function(register_hook, (node, held))


@speaks_for_user
def _found(value: Any, name: str) -> Any:
    if value is MISSING:
        raise AttributeError(f"'Tensor' object has no attribute {name!r}")
    return value


class _Unknown:
    """What a trace cannot know of a gradient, but that it is not None."""

    def __init__(self, name: str) -> None:
        self._name = name

    @speaks_for_user
    def __getattr__(self, name: str) -> Any:
        raise ContentError(f"{self._name}.{name} is needed, which is known only when the model runs")


@speaks_for_user
def _some_number(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """A number of the type that `read` gives for this dtype. Raises RuntimeError as torch does."""
    with paused():
        if tensor._value.numel() != 1:
            raise RuntimeError(f"a tensor of shape {tuple(tensor._value.shape)} is not a single number")
        return read(torch.ones((), dtype=tensor._value.dtype))
