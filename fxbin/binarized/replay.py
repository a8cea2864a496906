"""Lets another tracer of torch.fx record a graph node by node, within the modules each node came from."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any

from torch import fx, nn
from torch.fx import Proxy

from fxbin.errors import TraceError
from fxbin.graph.attribute import attribute
from fxbin.graph.node_info import node_info

_CONTAINERS = (list, tuple, dict)

Modules = tuple[nn.Module, ...]
"""Modules that run inside one another, starting with the outermost."""


def is_proxied(*inputs: Any) -> bool:
    """Whether `inputs`, also inside containers, contain a torch.fx proxy; called at each call of a model."""
    for item in inputs:
        if isinstance(item, Proxy):
            return True
        if isinstance(item, _CONTAINERS) and is_proxied(*_items(item)):
            return True
    return False


def replay(graph: fx.Graph, model: nn.Module, path: str, inputs: Mapping[str, Any]) -> Any:
    """Record `graph`, that of the module at `path`, with the tracer of the proxies in `inputs`.

    Returns the output proxies.

    `inputs` are by the names of placeholders. Running the code of the graph instead would do things that a
    proxy does not allow: ask for a length, check a size, switch gradients off during the trace instead of at
    run time. No node of the graph calls a layer whose convolution is binarized, so the operators in it are
    recorded one by one, even if the tracer would keep the layer whole.

    Raises:
        TraceError: the graph needs a parameter that is not a part of the module that the tracer traces.
    """
    return _Replay(graph, model, path, _tracer(inputs)).run(inputs)


class _Replay:
    """One recording, which enters modules through the tracer, as if the modules ran themselves."""

    def __init__(self, graph: fx.Graph, model: nn.Module, path: str, tracer: fx.Tracer) -> None:
        self._model, self._tracer, self._path = model, tracer, path
        self._nodes: list[fx.Node] = list(graph.nodes)
        self._values: dict[fx.Node, Any] = {}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """Record all nodes and return the output of the graph."""
        *body, output = self._nodes
        self._values = {node: inputs[str(node.target)] for node in body if node.op == "placeholder"}
        steps = [(node, self._running(owner)) for node, owner in _owned(body) if node not in self._values]
        with _followed(self._tracer, {module for _, running in steps for module in running}):
            self._record(steps, 0)
        return self._resolve(output.args[0])

    def _running(self, owner: str) -> Modules:
        """The modules on the path to `owner`, without containers such as ModuleList, which never run."""
        parts = owner.split(".") if owner else []
        depth = len(self._path.split(".")) if self._path else 0  # in which the tracer is already
        paths = [".".join(parts[: end + 1]) for end in range(depth, len(parts))]
        modules = map(self._model.get_submodule, paths)
        return tuple(module for module in modules if type(module).forward is not nn.Module.forward)

    def _record(self, steps: Sequence[tuple[fx.Node, Modules]], depth: int) -> None:
        """Record `steps`, nodes with the modules they ran in, of which the first `depth` are the same."""
        for module, group in groupby(steps, lambda step: step[1][depth] if len(step[1]) > depth else None):
            inside = list(group)
            if module is None:
                for node, _ in inside:
                    self._values[node] = self._call(node)
            else:
                self._tracer.call_module(module, partial(self._record, inside, depth + 1), (), {})

    def _call(self, node: fx.Node) -> Any:
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        if node.op == "call_module":
            # The tracer decides whether to trace into the module.
            return self._model.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "get_attr":
            return self._fetch(str(node.target))
        return self._tracer.create_proxy(node.op, node.target, args, kwargs)

    def _fetch(self, path: str) -> Any:
        value = attribute(self._model, path)
        if isinstance(value, Proxy):
            return value  # some tracers return proxies for parameters
        return self._tracer.create_proxy("get_attr", self._name(path), (), {})

    def _name(self, path: str) -> str:
        """The name by which the tracer refers to the parameter or buffer at `path` in the model."""
        part = f"{self._path}." if self._path else ""
        if path.startswith(part):
            module = self._model.get_submodule(self._path)
            return _joined(self._tracer.path_of_module(module), path.removeprefix(part))
        try:
            return _joined(self._tracer.path_of_module(self._model), path)
        except NameError:
            raise TraceError(
                f"{type(self._tracer).__name__} traces a part of a transformed "
                f"{type(self._model).__name__}, whose graph uses {path}, which is outside of that part: "
                "trace the model itself"
            ) from None

    def _resolve(self, argument: Any) -> Any:
        return fx.node.map_arg(argument, self._values.__getitem__)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _owned(nodes: Sequence[fx.Node]) -> Iterator[tuple[fx.Node, str]]:
    """Nodes with the path of the module they ran in, or if that is unknown, that of the next node."""
    owned, owner = [], ""
    for node in reversed(nodes):
        info = node_info(node)
        if node.op == "call_module":
            owner = str(node.target).rpartition(".")[0]
        elif info is not None and info.scope:
            owner = info.owner
        owned.append((node, owner))
    return reversed(owned)


@contextmanager
def _followed(tracer: fx.Tracer, modules: set[nn.Module]) -> Iterator[None]:
    """Let `tracer` trace into all of `modules`."""
    is_whole = tracer.is_leaf_module
    own = {name: value for name, value in vars(tracer).items() if name == "is_leaf_module"}

    def is_leaf_module(module: nn.Module, path: str) -> bool:
        return module not in modules and is_whole(module, path)

    vars(tracer).update(is_leaf_module=is_leaf_module)
    try:
        yield
    finally:
        del vars(tracer)["is_leaf_module"]
        vars(tracer).update(own)


def _items(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _tracer(inputs: Any) -> fx.Tracer:
    """The tracer of the first proxy among `inputs`."""
    if not isinstance(inputs, Proxy):
        return next(_tracer(item) for item in _items(inputs) if is_proxied(item))
    tracer: Any = inputs.tracer
    return tracer  # type: ignore[no-any-return]
