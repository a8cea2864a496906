# ruff: noqa: E501 (one line a node)

import torch
from torch import Tensor, fx, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.graph.node_info import node_info
from fxbin.passes import NameNodes
from fxbin.scopes.naming import Names
from fxbin.tracing import ops_of, trace_model
from tests.passes.rewriting import assert_rewrites, captured
from tests.passes.small_models import OneConv


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(OneConv(), nn.ReLU())
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x) * self.gamma
        return y.flatten(1)


def name(node: fx.Node) -> str:
    info = node_info(node)
    return "" if info is None else f"{info.name} {info.op} {info.owner}".rstrip()


def test_nodes_get_hierarchical_names() -> None:
    root = Net().eval()
    x = (torch.rand(1, 2, 4, 4),)
    found = trace_model(root, x, {})
    names = Names(root, [op for node in found.eval_graph.nodes for op in ops_of(node)])
    assert_rewrites(
        NameNodes(names),
        BinarizedModule.from_trace(root, found),
        before="""
            x = placeholder x()
            blocks_0_conv = call_module blocks.0.conv(x)
            blocks_1 = call_module blocks.1(blocks_0_conv)
            gamma = get_attr gamma()
            mul = call_function mul(blocks_1, gamma)
            flatten = call_method flatten(mul, 1)
            output = output output(flatten)
        """,
        after="""
            x = placeholder x()  # /nncf_model_input_0 nncf_model_input
            blocks_0_conv = call_module blocks.0.conv(x)  # Net/Sequential[blocks]/OneConv[0]/NNCFConv2d[conv]/conv2d_0 conv2d blocks.0.conv
            blocks_1 = call_module blocks.1(blocks_0_conv)  # Net/Sequential[blocks]/ReLU[1]/relu_0 relu blocks.1
            gamma = get_attr gamma()  # gamma get_attr
            mul = call_function mul(blocks_1, gamma)  # Net/__mul___0 __mul__
            flatten = call_method flatten(mul, 1)  # Net/flatten_0 flatten
            output = output output(flatten)  # /nncf_model_output_0 nncf_model_output
        """,
        note=name,
    )


def test_no_reference_to_the_modules_stays_in_the_graph() -> None:
    module = captured(Net(), 1, 2, 4, 4)
    assert not any("ops" in node.meta for node in module.graph.nodes)
