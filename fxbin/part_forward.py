"""How a part of a model runs as a graph, around which the model's own code goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import fx, nn


@dataclass
class PartGraphs:
    """The graphs of one part, in the paths of the whole model."""

    evaluate: fx.Graph
    train: fx.Graph | None
    """None for a model that runs as it is in train mode."""

    def all(self) -> list[fx.Graph]:
        """Those that there are."""
        return [self.evaluate] if self.train is None else [self.evaluate, self.train]


class PartForward:
    """Stands in for the `forward` of a module: runs its graph on the parameters of the whole model.

    An attribute of the module, so that the module keeps its class, its hooks, and its place in the model.
    """

    def __init__(self, model: nn.Module, module: nn.Module, graphs: PartGraphs) -> None:
        self._model, self._module, self.graphs = model, module, graphs
        self.compile()

    def compile(self) -> None:
        """Generate the code of the graphs anew, after they have been changed."""
        self._evaluate = compiled(self.graphs.evaluate)
        self._train = self._evaluate if self.graphs.train is None else compiled(self.graphs.train)

    @contextmanager
    def run_by(self, run: Callable[[fx.Graph, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
        """Let ``run(graph, args, kwargs)`` run the graphs instead of the generated code."""
        before = self._evaluate, self._train
        self._evaluate = lambda _, *args, **kwargs: run(self.graphs.evaluate, args, kwargs)
        self._train = lambda _, *args, **kwargs: run(self.graphs.train or self.graphs.evaluate, args, kwargs)
        try:
            yield
        finally:
            self._evaluate, self._train = before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's mode chooses the graph, so that parts can be frozen."""
        run = self._train if self._module.training else self._evaluate
        return run(self._model, *args, **kwargs)


def compiled(graph: fx.Graph) -> Callable[..., Any]:
    """The function that runs `graph`, with the module that has its parameters as first argument."""
    code = graph.python_code(root_module="self")
    namespace = dict(code.globals)
    exec(compile(code.src, "<graph>", "exec"), namespace)  # noqa: S102 (as GraphModule does)
    function: Callable[..., Any] = namespace["forward"]
    return function
