"""How a graph gets at what the root module holds: parameters, buffers, constants, submodules."""

from collections.abc import Collection
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.errors import TraceError
from fxbin.graph.containers import map_nested
from fxbin.graph.record import TensorSpec, set_spec
from fxbin.original.holdings import Holdings
from fxbin.tracing.recorder.aliases import split_aliases
from fxbin.tracing.recorder.execute import LARGEST_CONSTANT
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.operands import holds
from fxbin.tracing.values.tensor import TracedTensor


class Attributes:
    """Knows the path of each tensor and module of `root`, and stands in for tensors while tracing.

    Stand-ins are on the meta device: tracing neither reads nor copies the real ones.
    """

    def __init__(self, holdings: Holdings, *, with_data: bool = False) -> None:
        self.holdings = holdings
        self.device = holdings.device
        self.home = self.device if with_data else None
        """Where operators run if they run on the content of tensors."""
        self.homeless: dict[str, Any] = {}
        """Modules, tensors and objects that the code uses and `root` does not hold, by a new name."""
        self._objects: dict[int, str] = {}
        self._module_paths = dict(holdings.module_paths)
        self._tensor_paths = dict(holdings.tensor_paths)
        self._stand_ins: dict[int, TracedTensor] = {}
        self._alive: list[Tensor] = []
        self._buffers: dict[tuple[nn.Module, str], Tensor] = {}
        self._assigned: dict[tuple[nn.Module, str], TracedTensor] = {}
        self._before: dict[nn.Module, tuple[dict[str, Any], dict[str, Any]]] = {}

    def prepare(self, modules: Collection[nn.Module]) -> None:
        """Change `modules` so that tracing sees more of them; whoever calls this puts them back.

        Modules that a parent holds twice become two. Tensors that are plain attributes are replaced by
        their stand-ins, which parameters and buffers get where they are looked up.
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
        """Dotted path of `module` from the root, as ``call_module`` takes it."""
        if module not in self._module_paths:
            self._module_paths[module] = self._adopt(module)
        return self._module_paths[module]

    def is_changed(self, module: nn.Module) -> bool:
        """Whether the code has changed what `module` computes with, so that it is not to be called later.

        By an assignment to an attribute (``conv.stride = 2``, ``norm.eval()``), by other tensors in place
        of parameters (`torch.func.functional_call`), or, if the code made it, by what it was made with.
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
        """The buffer that `module` held under `name` before the trace, and what stands for it now."""
        key = (module, name)
        now = torch_private.buffers(module)[name]
        if now is not None and type(now) is not TracedTensor:
            self._buffers[key] = now
            return now, self.stand_in(now)
        return self._buffers.get(key), self._assigned.get(key)

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """Note that `value` is now the content of that buffer."""
        self._assigned[module, name] = value

    def stand_in(self, tensor: Tensor) -> TracedTensor:
        """The traced tensor that user code gets instead of `tensor`, always the same one."""
        if id(tensor) not in self._stand_ins:
            with paused():
                self._stand_ins[id(tensor)] = self._new_stand_in(tensor)
            self._alive.append(tensor)  # or its id might go to another tensor
        return self._stand_ins[id(tensor)]

    @speaks_for_user
    def _new_stand_in(self, tensor: Tensor) -> TracedTensor:
        # Code may turn a small constant into numbers; parameters and buffers change, so they have none.
        held = id(tensor) in self.holdings.registered
        if self.home is not None:
            value = tensor.detach().to(self.home).clone()
        elif not held and tensor.numel() <= LARGEST_CONSTANT and not tensor.is_meta:
            value = tensor.detach().cpu().clone()
        else:
            value = torch.empty_like(tensor, device="meta")
        is_param = isinstance(tensor, nn.Parameter)
        return traced(value, None, tracked=False, source=tensor, is_param=is_param)

    def node(self, tensor: TracedTensor, graph: fx.Graph) -> fx.Node:
        """The node that computes `tensor`; a stand-in is fetched from the root at each use."""
        if tensor._node is not None:
            return tensor._node
        if tensor._source is None and self.home is not None:
            # It comes out of a module that is kept whole, by a list that this one was given.
            return self.fetch(tensor._value, graph)
        if tensor._source is None:
            raise TraceError(
                f"a tensor of shape {tuple(tensor._value.shape)} was computed inside of a module that is "
                "kept whole, and reaches the code around it by another way than what the module returns"
            )
        return self.fetch(tensor._source, graph)

    def fetch(self, source: Tensor, graph: fx.Graph) -> fx.Node:
        """A node that gives the parameter, buffer or constant `source` itself."""
        if id(source) not in self._tensor_paths:
            if source.is_meta and not self.holdings.is_all_meta:
                raise TraceError(
                    f"a tensor of shape {tuple(source.shape)} was computed in a way that fxbin does not see "
                    "(an operator in a C++ extension?)"
                )
            # What a thread of the code computes has gradients. A graph made with data is only looked at.
            is_computed = self.home is not None and not source.is_leaf
            self._tensor_paths[id(source)] = self._adopt(source.detach() if is_computed else source)
        node = graph.create_node("get_attr", self._tensor_paths[id(source)])
        set_spec(node, TensorSpec(tuple(source.shape), source.dtype))
        return node

    def fetch_object(self, item: Any, graph: fx.Graph) -> fx.Node:
        """A node that gives the Python object `item`, such as a module that is passed to a function."""
        if isinstance(item, nn.Module):
            return graph.create_node("get_attr", self.module_path(item))
        if id(item) not in self._objects:
            self._objects[id(item)] = self._adopt(item)
        return graph.create_node("get_attr", self._objects[id(item)])

    def _adopt(self, item: Any) -> str:
        """A name under which the graph finds `item`, which `root` does not hold."""
        kind = "module" if isinstance(item, nn.Module) else "constant"
        names = (f"_traced_{kind}_{number}" for number in count(len(self.homeless)))
        name = next(name for name in names if name not in self.homeless and name not in self.holdings.names)
        self.homeless[name] = item
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
    """`value` for user code; `source` is the real tensor that a stand-in stands for."""
    tensor = value.detach().as_subclass(TracedTensor)
    tensor._value, tensor._node, tensor._tracked = value, node, tracked
    tensor._source, tensor._is_param = source, is_param
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
