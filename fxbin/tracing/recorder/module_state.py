"""What the code reads and changes of the modules that it runs in, beside what goes into the graph."""

from typing import Any

from torch import Tensor, nn

from fxbin import torch_private
from fxbin.graph.calls.guards import assign_buffer
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.reads import Read, Reads
from fxbin.tracing.recorder.recorder import Recorder
from fxbin.tracing.values.tensor import TracedTensor


class ModuleState:
    """Collects it. Code that is kept whole reads everything itself whenever it runs."""

    def __init__(self, recorder: Recorder, attributes: Attributes, position: Position) -> None:
        self._recorder, self._attributes, self._position = recorder, attributes, position
        self.modes: dict[nn.Module, bool] = {}
        """The modules whose mode the code looks at, and what it is."""
        self.assigned: dict[nn.Module, str] = {}
        """The modules of which the code changes an attribute, which a graph does not, and its name."""
        self.left: list[Read] = []
        """Attributes that have another value after the forward, and that value."""
        self.reads = Reads(attributes.holdings)
        self._switched: set[nn.Module] = set()

    def look_at_mode(self, module: nn.Module, mode: bool) -> None:
        """``module.training`` is read: the graph is good for this mode only, unless the code has set it."""
        if not self._position.is_inside and module not in self._switched:
            self.modes.setdefault(module, mode)

    def switch_mode(self, module: nn.Module) -> None:
        """``module.training`` is set by the code."""
        if module not in self.modes:
            self._switched.add(module)

    def note_read(self, module: nn.Module, name: str, value: Any) -> None:
        """``module.name`` gives `value`: a graph goes by that."""
        if self._position.inside is None:
            self.reads.note(module, name, value)

    def note_assigned(self, module: nn.Module, name: str, value: Any) -> None:
        """``module.name = value``: what reads it before or after a graph would miss that."""
        self.reads.note_written(module, name)
        if module not in self._attributes.holdings.module_paths or name in (
            "training",
            *torch_private.buffers(module),
        ):
            return
        is_tensor = isinstance(vars(module).get(name), Tensor) and isinstance(value, Tensor)
        if self._position.with_data and is_tensor:
            return  # a graph that reads it takes the tensor that is there when it runs
        self.assigned.setdefault(module, name)

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """``module.name = value``: a buffer keeps it for the next run."""
        if self._position.is_inside or name not in torch_private.buffers(module):
            return
        graph = self._recorder.graph
        buffer, before = self._attributes.assigned(module, name)
        if buffer is None or value._source is buffer or value is before:
            return
        if before is not None:
            # Code may still hold the old content, which is about to be overwritten.
            before._node = graph.call_method("clone", (self._recorder.node_of(before),))
        target = self._attributes.fetch(buffer, graph)
        # From here on the value is the buffer: what is done to it in place is done to the buffer.
        node = graph.call_function(assign_buffer, (target, self._recorder.node_of(value)))
        if value._source is None:
            value._node = node
        self._attributes.assign(module, name, value)
