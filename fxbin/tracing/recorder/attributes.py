"""Fetches parameters, buffers, constants and submodules of the root as nodes of a graph."""

from collections.abc import Collection
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.errors import TraceError
from fxbin.graph.containers import map_nested
from fxbin.graph.record import TensorSpec, set_spec
from fxbin.original.inventory import Inventory
from fxbin.tracing.recorder.aliases import split_aliases
from fxbin.tracing.recorder.execute import LARGEST_CONSTANT
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.operands import holds
from fxbin.tracing.values.tensor import TracedTensor


class Attributes:
    """The paths of all tensors and modules of the root, and the traced tensors that stand for them.

    Stand-ins are on the meta device: tracing neither reads nor copies the actual tensors.
    """

    def __init__(self, inventory: Inventory, *, with_data: bool = False) -> None:
        self.inventory = inventory
        self.device = inventory.device
        self.data_device = self.device if with_data else None
        """The device on which operators run with data; None if they run without."""
        self.extra_attributes: dict[str, Any] = {}
        """Modules, tensors and objects that the code uses but the root does not have, by a new name."""
        self._objects: dict[int, str] = {}
        self._module_paths = dict(inventory.module_paths)
        self._tensor_paths = dict(inventory.tensor_paths)
        self.inputs: dict[fx.Node, Tensor] = {}
        """The example of each input that is a tensor, by its node."""
        self._stand_ins: dict[int, TracedTensor] = {}
        self._alive: list[Tensor] = []
        self._buffers: dict[tuple[nn.Module, str], Tensor] = {}
        self._assigned: dict[tuple[nn.Module, str], TracedTensor] = {}
        self._before: dict[nn.Module, tuple[dict[str, Any], dict[str, Any]]] = {}

    def prepare(self, modules: Collection[nn.Module]) -> None:
        """Change `modules` so that tracing sees more of them; the caller must restore them.

        Modules that a parent holds under two names become two. Tensors in plain attributes are replaced by
        stand-ins; those of parameters and buffers take their place where they are looked up.
        """
        stand_ins = dict(split_aliases(modules))
        self._module_paths |= {new: self._module_paths[module] for new, module in stand_ins.items()}
        for module in (*modules, *stand_ins):
            for name, value in vars(module).items():
                if name not in torch_private.REGISTRIES and _is_plain(value):
                    new = map_nested(value, self._if_tensor)
                    if type(value) is list:
                        value[:] = new  # other modules may hold it too
                    else:
                        vars(module)[name] = new
            self._before[module] = (dict(vars(module)), dict(torch_private.parameters(module)))

    def _if_tensor(self, item: Any) -> Any:
        return self.stand_in(item) if isinstance(item, Tensor) and type(item) is not TracedTensor else item

    def module_path(self, module: nn.Module) -> str:
        """The target of a ``call_module`` node for `module`: its path, or a new name if the root has none."""
        if module not in self._module_paths:
            self._module_paths[module] = self._adopt(module)
        return self._module_paths[module]

    def is_changed(self, module: nn.Module) -> bool:
        """Whether the code has changed what `module` computes with, so that a graph must not call it.

        It may have assigned an attribute (``conv.stride = 2``, ``norm.eval()``), put other tensors in place
        of parameters (`torch.func.functional_call`), or created the module with traced values.
        """
        if module not in self._before:
            return holds([vars(module), torch_private.parameters(module)], TracedValue | TracedTensor)
        attributes, parameters = self._before[module]
        return (
            not _is_same(vars(module), attributes)
            or not _is_same(torch_private.parameters(module), parameters)
            or any(
                type(buffer) is TracedTensor and self._assigned.get((module, name)) is not buffer
                for name, buffer in torch_private.buffers(module).items()
            )
        )

    def assigned(self, module: nn.Module, name: str) -> tuple[Tensor | None, TracedTensor | None]:
        """The buffer `name` that `module` had before the trace, and the traced tensor that it is now."""
        key = (module, name)
        now = torch_private.buffers(module)[name]
        if now is not None and type(now) is not TracedTensor:
            self._buffers[key] = now
            return now, self.stand_in(now)
        return self._buffers.get(key), self._assigned.get(key)

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """Note that `value` is now the content of the buffer `name` of `module`."""
        self._assigned[module, name] = value

    def stand_in(self, tensor: Tensor) -> TracedTensor:
        """The traced tensor that user code gets in place of `tensor`; always the same one."""
        if id(tensor) not in self._stand_ins:
            with paused():
                self._stand_ins[id(tensor)] = self._new_stand_in(tensor)
            self._alive.append(tensor)  # otherwise another tensor might get its id
        return self._stand_ins[id(tensor)]

    @speaks_for_user
    def _new_stand_in(self, tensor: Tensor) -> TracedTensor:
        # Code may turn a small constant into numbers; parameters and buffers change, so they have none.
        held = id(tensor) in self.inventory.registered
        if self.data_device is not None:
            value = tensor.detach().to(self.data_device).clone()
        elif not held and tensor.numel() <= LARGEST_CONSTANT and not tensor.is_meta:
            value = tensor.detach().cpu().clone()
        else:
            value = torch.empty_like(tensor, device="meta")
        is_param = isinstance(tensor, nn.Parameter)
        return traced(value, None, tracked=False, source=tensor, is_param=is_param)

    def node(self, tensor: TracedTensor, graph: fx.Graph) -> fx.Node:
        """The node that computes `tensor`; a stand-in gets a new ``get_attr`` node at each use."""
        if tensor._node is not None:
            return tensor._node
        if tensor._source is None and self.data_device is not None:
            # A module that is kept whole has put it into a list that it was given.
            return self.fetch(tensor._value, graph)
        if tensor._source is None:
            raise TraceError(
                f"a tensor of shape {tuple(tensor._value.shape)} was computed inside of a module that is "
                "kept whole, and reaches the code around it in another way than as a result of the module"
            )
        return self.fetch(tensor._source, graph)

    def tensors_of(self, node: fx.Node) -> dict[str, Tensor]:
        """The tensors of the root that `node` fetches, or that are parameters of the module it calls."""
        target = str(node.target)
        if node.op == "call_module":
            module = self._owners.get(target)
            return {f"{target}.{name}": x for name, x in module.named_parameters()} if module else {}
        if node.op != "get_attr":
            return {}
        path, _, name = target.rpartition(".")
        held = vars(self._owners[path]) if path in self._owners else {}
        places = (held, *(held[registry] for registry in torch_private.REGISTRIES if held))
        found = next((place[name] for place in places if name in place), None)
        source = found._source if type(found) is TracedTensor else found
        return {target: source} if isinstance(source, Tensor) else {}

    @cached_property
    def _owners(self) -> dict[str, nn.Module]:
        return {path: module for module, path in self.inventory.module_paths.items()}

    def fetch(self, source: Tensor, graph: fx.Graph) -> fx.Node:
        """A new ``get_attr`` node of the parameter, buffer or constant `source`."""
        if id(source) not in self._tensor_paths:
            if source.is_meta and not self.inventory.is_all_meta:
                raise TraceError(
                    f"a tensor of shape {tuple(source.shape)} was computed in a way that fxbin does not see "
                    "(an operator in a C++ extension?)"
                )
            # What another thread computes may have a history. A graph made with data is never run.
            is_computed = self.data_device is not None and not source.is_leaf
            self._tensor_paths[id(source)] = self._adopt(source.detach() if is_computed else source)
        node = graph.create_node("get_attr", self._tensor_paths[id(source)])
        set_spec(node, TensorSpec(tuple(source.shape), source.dtype))
        return node

    def fetch_object(self, item: Any, graph: fx.Graph) -> fx.Node:
        """A new ``get_attr`` node of the Python object `item`, such as a module passed to a function."""
        if isinstance(item, nn.Module):
            return graph.create_node("get_attr", self.module_path(item))
        if id(item) not in self._objects:
            self._objects[id(item)] = self._adopt(item)
        return graph.create_node("get_attr", self._objects[id(item)])

    def _adopt(self, item: Any) -> str:
        """Add `item`, which the root does not have, to `extra_attributes`, and return its name."""
        kind = "module" if isinstance(item, nn.Module) else "constant"
        names = (f"_traced_{kind}_{number}" for number in count(len(self.extra_attributes)))
        name = next(
            name for name in names if name not in self.extra_attributes and name not in self.inventory.names
        )
        self.extra_attributes[name] = item
        return name


@speaks_for_user
def traced(
    value: Tensor,
    node: fx.Node | None,
    *,
    tracked: bool,
    source: Tensor | None = None,
    is_param: bool = False,
) -> TracedTensor:
    """A new traced tensor around `value`; `source` is the actual tensor that a stand-in stands for."""
    tensor = value.detach().as_subclass(TracedTensor)
    tensor._value, tensor._node, tensor._tracked = value, node, tracked
    tensor._source, tensor._is_param = source, is_param
    if is_param:
        tensor._kind = nn.Parameter
    if source is not None:
        tensor._requires_grad = source.requires_grad
    return tensor


def _is_same(now: dict[str, Any], before: dict[str, Any]) -> bool:
    return len(now) == len(before) and all(
        name in before and value is before[name] for name, value in now.items()
    )


def _is_plain(value: Any) -> bool:
    """Whether `value` is a tensor, or a list or tuple of them."""
    if type(value) in (list, tuple):
        return bool(value) and isinstance(value[0], Tensor)
    return isinstance(value, Tensor)
