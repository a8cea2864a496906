"""Which nodes the result of a graph depends on."""

import torch
from torch import Tensor, fx, nn

from fxbin.lowering.use import Use


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        operand = torch.relu(x)
        kept = torch.zeros_like(x)
        kept.add_(torch.sin(x))
        alone = torch.cos(x)
        alone.add_(1.0)
        torch.tan(alone)
        return operand + kept


def test_operands_and_what_is_written_into_them_are_used() -> None:
    graph = fx.symbolic_trace(Net()).graph
    use = Use(graph)
    used = {node.name for node in graph.nodes if use.includes(node)}
    assert {"x", "relu", "zeros_like", "sin", "add"} <= used
    assert not used & {"cos", "tan", "add__1"}
