"""Answers what is known only when the graph runs, such as ``x.item()``, with values the graph computes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fxbin.graph.calls.guards import register_hook
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.recorder import Recorder
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording


class Answers:
    """Traced values for questions about tensors; `recording` is the tracer that these values call."""

    def __init__(
        self, recording: "Recording", recorder: Recorder, attributes: Attributes, position: Position
    ) -> None:
        self._recording, self._recorder = recording, recorder
        self._attributes, self._position = attributes, position
        self._graph = recorder.graph

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
        return device if self._position.knows_values else self._attribute(tensor, "device", device)

    def requires_grad_of(self, tensor: TracedTensor) -> Any:
        """``tensor.requires_grad``: the actual flag of a parameter, that of a training step for others."""
        if self._position.knows_values:
            return False  # or layers of torch would register hooks on tensors that are never differentiated
        # As with `is_grad_enabled`, code that reads the flag of other tensors is valid in both cases.
        is_parameter = tensor._source is not None
        return self._attribute(tensor, "requires_grad", tensor._requires_grad, guarded=is_parameter)

    def _attribute(self, tensor: TracedTensor, name: str, value: Any, *, guarded: bool = True) -> TracedValue:
        node = self._graph.call_function(getattr, (self._recorder.node_of(tensor), name))
        return TracedValue(self._recording, node, value, guarded=guarded)

    def add_hook(self, tensor: TracedTensor, hook: Callable[[Tensor], Any]) -> None:
        """Record ``tensor.register_hook(hook)``; the hook is called whenever gradients are computed."""
        if not self._position.is_kept_whole:
            node = self._recorder.node_of(tensor)
            held = self._attributes.fetch_object(hook, self._graph)
            self._graph.call_function(register_hook, (node, held))


@speaks_for_user
def _some_number(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """A number of the type that `read` gives for this dtype. Raises RuntimeError as torch does."""
    with paused():
        if tensor._value.numel() != 1:
            raise RuntimeError(f"a tensor of shape {tuple(tensor._value.shape)} is not a single number")
        return read(torch.ones((), dtype=tensor._value.dtype))
