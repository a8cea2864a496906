"""The graph that torch.export gets: one node, which calls the model as it is now."""

import sys
from types import FrameType
from typing import Any

from torch import fx, nn

from fxbin import torch_private


def graph_of_call(model: nn.Module) -> fx.Graph:
    """A graph that calls `model`, with its hooks, with all inputs that it gets.

    torch.export does not call a `GraphModule`: it interprets its graph, without the hooks on the module. With
    this graph it follows what a call does. It puts keyword arguments after the others, without their names,
    which are those of the call that is being exported.
    """
    keywords = _keywords(model)

    def call(inputs: list[Any]) -> Any:
        count = len(inputs) - len(keywords)
        named = dict(zip(keywords, inputs[count:], strict=True))
        # Not the model's own __call__, which would run compiled code if the model is compiled in place.
        return torch_private.plain_call(model)(*inputs[:count], **named)

    graph = fx.Graph()
    graph.output(graph.call_function(call, (graph.placeholder("*inputs"),)))
    return graph


def _keywords(model: nn.Module) -> tuple[str, ...]:
    """Names of the keyword arguments with which torch.export calls `model` at present."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "forward":
            found, keywords = map(frame.f_locals.get, torch_private.EXPORTED_CALL)
            if found is model and keywords is not None:
                return tuple(keywords)
        frame = frame.f_back
    return ()
