"""Records which modes and attributes of modules the code reads and assigns."""

from typing import Any

from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.graph.calls.guards import assign_buffer
from fxbin.original.state_beyond import StateBeyond
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.reads import OF_EACH_MODULE, Read, Reads
from fxbin.tracing.recorder.recorder import Recorder
from fxbin.tracing.values.tensor import TracedTensor


class ModuleState:
    """The modes and attributes that code reads or assigns, except in modules that are kept whole."""

    def __init__(self, recorder: Recorder, attributes: Attributes, position: Position) -> None:
        self._recorder, self._attributes, self._position = recorder, attributes, position
        self.modes: dict[nn.Module, bool] = {}
        """The mode of each module whose mode the code reads: True for train mode."""
        self.assigned: dict[nn.Module, str] = {}
        """The modules of which the code changes an attribute, which a graph does not, each with one name."""
        self.final_values: list[Read] = []
        """Attributes that have another value after the forward, with that value."""
        self.changed_beyond: list[str] = []
        """What the code changes other than attributes of modules, as expressions."""
        self.changed_shared: StateBeyond | None = None
        """If it only changed what the model shares with others, such as global variables: what these were."""
        self.reads = Reads(attributes.inventory)
        self.set_by_code: set[tuple[nn.Module, str]] = set()
        """The attributes that the recorded code sets, not that of a module which is kept whole."""
        self._switched: set[nn.Module] = set()

    def look_at_mode(self, module: nn.Module, mode: bool) -> None:
        """Note that the code reads ``module.training``; the graph relies on it unless the code has set it."""
        if not self._position.is_kept_whole and module not in self._switched:
            self.modes.setdefault(module, mode)

    def switch_mode(self, module: nn.Module) -> None:
        """Note that the code sets ``module.training``."""
        if module not in self.modes:
            self._switched.add(module)

    def note_read(self, module: nn.Module, name: str, value: Any) -> None:
        """Note that the code reads ``module.name``, so that the graph relies on `value`."""
        if self._position.inner_ops is None:
            self.reads.note(module, name, value)

    def note_all_read(self, module: nn.Module) -> None:
        """Note that the code reads ``vars(module)``, and so any attribute."""
        for name, value in vars(module).items():
            if name not in OF_EACH_MODULE:
                self.note_read(module, name, value)

    def note_content(self, tensor: TracedTensor) -> None:
        """Note that the code reads what `tensor` contains, which is computed from attributes of modules."""
        if self._position.knows_values:
            return
        inventory = self._attributes.inventory
        found = [inventory.tensor_paths.get(id(tensor._source), "")] if tensor._source is not None else []
        pending, seen = [tensor._node] if tensor._node is not None else [], set[fx.Node]()
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                pending += node.all_input_nodes
                found += [str(node.target)] if node.op == "get_attr" else []
        owners = {path: module for module, path in inventory.module_paths.items()}
        for target in found:
            path, _, name = target.rpartition(".")
            if path in owners:
                self.reads.note_content(owners[path], name)

    def note_assigned(self, module: nn.Module, name: str, value: Any) -> None:
        """Note that the code sets ``module.name = value``, which a graph does not do."""
        self.reads.note_written(module, name)
        if self._position.inner_ops is None:
            self.set_by_code.add((module, name))
        if module not in self._attributes.inventory.module_paths or name in (
            "training",
            *torch_private.buffers(module),
        ):
            return
        is_tensor = isinstance(vars(module).get(name), Tensor) and isinstance(value, Tensor)
        if self._position.with_data and is_tensor:
            return  # a graph fetches the tensor that is there when it runs
        self.assigned.setdefault(module, name)

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """Record ``module.name = value`` if that is a buffer, which keeps its content for the next run."""
        if self._position.is_kept_whole or name not in torch_private.buffers(module):
            return
        graph = self._recorder.graph
        buffer, before = self._attributes.assigned(module, name)
        if buffer is None or value._source is buffer or value is before:
            return
        if before is not None:
            # The code may still refer to the old content, which is about to be overwritten.
            before._node = graph.call_method("clone", (self._recorder.node_of(before),))
        buffer_node = self._attributes.fetch(buffer, graph)
        # From here on the value is the buffer: operators in place change the buffer.
        node = graph.call_function(assign_buffer, (buffer_node, self._recorder.node_of(value)))
        if value._source is None:
            value._node = node
        self._attributes.assign(module, name, value)
