"""How a graph gets at what the root module holds: parameters, buffers, constants, submodules."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.tracing.active import paused
from fxbin.tracing.tensor import TracedTensor


class Attributes:
    """Knows the path of each tensor and module of `root`, and stands in for tensors while tracing.

    Stand-ins are on the meta device: tracing neither reads nor copies the real ones.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.device = next((x.device for x in _tensors(root)), torch.device("cpu"))
        self.homeless: dict[str, nn.Module | Tensor] = {}
        """Modules and tensors that the code uses though `root` does not hold them, by a new name."""
        self._module_paths = {module: path for path, module in root.named_modules()}
        self._tensor_paths = {id(tensor): path for path, tensor in _named_tensors(root)}
        self._held = {id(tensor) for tensor in _tensors(root)}
        self._stand_ins: dict[int, TracedTensor] = {}
        self._alive: list[Tensor] = []

    def module_path(self, module: nn.Module) -> str:
        """Dotted path of `module` from the root, as ``call_module`` takes it."""
        if module not in self._module_paths:
            self._module_paths[module] = self._adopt(module)
        return self._module_paths[module]

    def stand_in(self, tensor: Tensor) -> TracedTensor:
        """The traced tensor that user code gets instead of `tensor`, always the same one."""
        if id(tensor) not in self._stand_ins:
            with paused(), torch.no_grad():
                self._stand_ins[id(tensor)] = self._new_stand_in(tensor)
            self._alive.append(tensor)  # or its id might go to another tensor
        return self._stand_ins[id(tensor)]

    def _new_stand_in(self, tensor: Tensor) -> TracedTensor:
        # Code may turn a small constant into numbers; parameters and buffers change, so they have none.
        constant = id(tensor) not in self._held and tensor.numel() <= 4096 and not tensor.is_meta
        value = tensor.detach().cpu().clone() if constant else torch.empty_like(tensor, device="meta")
        is_param = isinstance(tensor, nn.Parameter)
        return traced(value, None, tracked=False, source=tensor, is_param=is_param)

    def node(self, tensor: TracedTensor, graph: fx.Graph) -> fx.Node:
        """The node that computes `tensor`; a stand-in is fetched from the root at each use."""
        if tensor._node is not None:
            return tensor._node
        source = tensor._source
        if source is None:
            raise AssertionError(f"a traced tensor without origin: {tensor}")
        if id(source) not in self._tensor_paths:
            self._tensor_paths[id(source)] = self._adopt(source)
        return graph.create_node("get_attr", self._tensor_paths[id(source)])

    def _adopt(self, item: nn.Module | Tensor) -> str:
        kind = "module" if isinstance(item, nn.Module) else "constant"
        name = f"_traced_{kind}_{len(self.homeless)}"
        self.homeless[name] = item
        return name


def traced(
    value: Tensor,
    node: fx.Node | None,
    *,
    tracked: bool,
    source: Tensor | None = None,
    is_param: bool = False,
) -> TracedTensor:
    """`value` for user code; `source` is the real tensor that a stand-in stands for."""
    tensor = torch.Tensor._make_subclass(TracedTensor, value.detach())
    tensor._value, tensor._node, tensor._tracked = value, node, tracked
    tensor._source, tensor._is_param = source, is_param
    return tensor


def _tensors(root: nn.Module) -> Iterator[Tensor]:
    yield from root.parameters()
    yield from root.buffers()


def _named_tensors(root: nn.Module) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers, and tensors that are plain attributes, which `nn.Module` does not list."""
    for path, module in root.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
    yield from root.named_buffers()
    yield from root.named_parameters()
