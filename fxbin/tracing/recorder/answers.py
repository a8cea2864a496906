"""What the code gets where it asks a tensor for something that only the run will tell."""

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
    """Values that the graph computes; `recording` is what these ask in turn."""

    def __init__(
        self, recording: "Recording", recorder: Recorder, attributes: Attributes, position: Position
    ) -> None:
        self._recording, self._recorder = recording, recorder
        self._attributes, self._position = attributes, position
        self._graph = recorder.graph

    def number_of(self, tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
        """``tensor.item()``, ``float(tensor)``: a number that the run will tell."""
        some = _some_number(tensor, read)
        node = self._recorder.node_of(tensor)
        is_item = read is Tensor.item
        read_out = (
            self._graph.call_method("item", (node,)) if is_item else self._graph.call_function(read, (node,))
        )
        return TracedValue(self._recording, read_out, some, of_content=True)

    def device_of(self, tensor: TracedTensor) -> Any:
        """``tensor.device``: the model's, though nothing is there while tracing."""
        device = self._attributes.device
        return device if self._position.knows_values else self._attribute(tensor, "device", device)

    def requires_grad_of(self, tensor: TracedTensor) -> Any:
        """``tensor.requires_grad``: as it is here for a parameter, as in a training step for others."""
        if self._position.knows_values:
            return False  # or torch would hang hooks of its layers on what is never differentiated
        # As with `is_grad_enabled`: what code does about it is meant for both cases.
        is_parameter = tensor._source is not None
        return self._attribute(tensor, "requires_grad", tensor._requires_grad, guarded=is_parameter)

    def _attribute(self, tensor: TracedTensor, name: str, value: Any, *, guarded: bool = True) -> TracedValue:
        node = self._graph.call_function(getattr, (self._recorder.node_of(tensor), name))
        return TracedValue(self._recording, node, value, guarded=guarded)

    def add_hook(self, tensor: TracedTensor, hook: Callable[[Tensor], Any]) -> None:
        """``tensor.register_hook(hook)``: the hook is called whenever gradients are computed."""
        if not self._position.is_inside:
            node = self._recorder.node_of(tensor)
            held = self._attributes.fetch_object(hook, self._graph)
            self._graph.call_function(register_hook, (node, held))


@speaks_for_user
def _some_number(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """What `read` gives for another tensor of this dtype. Raises RuntimeError as torch does."""
    with paused():
        if tensor._value.numel() != 1:
            raise RuntimeError(f"a tensor of shape {tuple(tensor._value.shape)} is no single number")
        return read(torch.ones((), dtype=tensor._value.dtype))
