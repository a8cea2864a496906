"""How a graph meets another tracer of torch.fx: it is recorded node by node, in the modules it came from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from torch import fx, nn

from fxbin.call_site import attribute
from fxbin.errors import TraceError
from fxbin.node_info import node_info


def is_proxied(inputs: Any) -> bool:
    """Whether among `inputs` is a value that a tracer of torch.fx follows."""
    if isinstance(inputs, list | tuple | dict):
        return any(map(is_proxied, _items(inputs)))
    return isinstance(inputs, fx.Proxy)


def replay(graph: fx.Graph, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """What `graph` of `model` gives for `inputs`, by the names of its placeholders, as their tracer records it.

    Run instead, its code would do what no proxy can: ask for a length, check a size, switch gradients off
    while it is traced and not when the result runs. A layer whose convolution is binarized is called by no
    node of the graph, so what ran in it is recorded one by one, also where the tracer would keep it whole.

    Raises:
        TraceError: the model is no part of what the tracer follows.
    """
    return _Replay(graph, model, _tracer(inputs)).run(inputs)


class _Replay:
    def __init__(self, graph: fx.Graph, model: nn.Module, tracer: fx.Tracer) -> None:
        self._model, self._tracer = model, tracer
        self._prefix = _prefix(model, tracer)
        self._nodes: list[fx.Node] = list(graph.nodes)
        self._values: dict[fx.Node, Any] = {}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """What the output node of the graph gives."""
        *body, output = self._nodes
        for node in [node for node in body if node.op == "placeholder"]:
            self._values[node] = inputs[str(node.target)]
        steps = [(node, owner) for node, owner in _owned(body) if node.op != "placeholder"]
        with _entered(self._tracer, {self._model.get_submodule(path) for _, owner in steps for path in owner}):
            self._record(steps, 0)
        return self._resolve(output.args[0])

    def _record(self, steps: Sequence[tuple[fx.Node, tuple[str, ...]]], depth: int) -> None:
        """Record `steps`, which ran inside the first `depth` modules that own them."""
        for path, group in groupby(steps, lambda step: step[1][depth] if len(step[1]) > depth else None):
            inside = list(group)
            if path is None:
                for node, _ in inside:
                    self._values[node] = self._call(node)
            else:
                module = self._model.get_submodule(path)
                self._tracer.call_module(module, lambda: self._record(inside, depth + 1), (), {})  # noqa: B023

    def _call(self, node: fx.Node) -> Any:
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        if node.op == "call_module":
            # The tracer decides what to look into.
            return self._model.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "get_attr":
            return self._fetch(str(node.target))
        return self._tracer.create_proxy(node.op, node.target, args, kwargs)

    def _fetch(self, path: str) -> Any:
        value = attribute(self._model, path)
        # A binarizer or another module is an argument as it is.
        return value if isinstance(value, fx.Proxy) else self._tracer.create_proxy(
            "get_attr", self._prefix + path, (), {}
        )

    def _resolve(self, argument: Any) -> Any:
        return fx.node.map_arg(argument, self._values.__getitem__)


def _prefix(model: nn.Module, tracer: fx.Tracer) -> str:
    try:
        path = tracer.path_of_module(model)
    except NameError:
        raise TraceError(
            f"{type(tracer).__name__} follows a part of a transformed {type(model).__name__}, whose graph "
            "reaches parameters beyond that part: trace the model itself"
        ) from None
    return f"{path}." if path else ""


def _owned(nodes: Sequence[fx.Node]) -> Iterator[tuple[fx.Node, tuple[str, ...]]]:
    """Each node with the modules that it ran in, from the outermost on; what is not known as what follows."""
    owned, owner = [], ""
    for node in reversed(nodes):
        info = node_info(node)
        if node.op == "call_module":
            owner = str(node.target).rpartition(".")[0]
        elif info is not None and info.scope:
            owner = info.owner
        owned.append((node, _chain(owner)))
    return reversed(owned)


def _chain(path: str) -> tuple[str, ...]:
    """``"layer1.0"`` as ``("layer1", "layer1.0")``."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[: end + 1]) for end in range(len(parts)))


@contextmanager
def _entered(tracer: fx.Tracer, modules: set[nn.Module]) -> Iterator[None]:
    """Let `tracer` keep none of `modules` whole."""
    asked: Callable[[nn.Module, str], bool] = tracer.is_leaf_module
    before = vars(tracer).copy()

    def is_leaf_module(module: nn.Module, path: str) -> bool:
        return module not in modules and asked(module, path)

    tracer.is_leaf_module = is_leaf_module  # type: ignore[method-assign]
    try:
        yield
    finally:
        del tracer.is_leaf_module
        if "is_leaf_module" in before:
            tracer.is_leaf_module = before["is_leaf_module"]


def _items(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _tracer(inputs: Any) -> fx.Tracer:
    """The tracer of the first proxy among `inputs`."""
    if not isinstance(inputs, fx.Proxy):
        return next(_tracer(item) for item in _items(inputs) if is_proxied(item))
    tracer: Any = inputs.tracer
    return tracer  # type: ignore[no-any-return]
