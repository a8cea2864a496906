import torch
from torch import fx

from fxbin.compiler.capture import capture
from fxbin.graph.node_info import Decision, node_decision
from fxbin.passes import MarkCallSites, run_passes
from fxbin.passes.mark_call_sites import TRAIN_ONLY
from tests.passes.rewriting import assert_leaves_alone, assert_rewrites, captured
from tests.passes.small_models import AuxiliaryHead, NoConv, TwiceCalled

KEPT = Decision(binarized=False, reason="in ignored_scopes")
CHOSEN = Decision(binarized=True, reason="", activation="conv.a", weight="conv.w")


def decision(node: fx.Node) -> str:
    found = node_decision(node)
    return "" if found is None else found.reason or "binarized"


def test_each_call_site_gets_its_decision() -> None:
    decisions = {
        "TwiceCalled/NNCFConv2d[conv]/conv2d_0": KEPT,
        "TwiceCalled/NNCFConv2d[conv]/conv2d_1": CHOSEN,
    }
    assert_rewrites(
        MarkCallSites(decisions),
        captured(TwiceCalled(), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv = call_module conv(x)
            conv_1 = call_module conv(conv)
            output = output output(conv_1)
        """,
        after="""
            x = placeholder x()
            conv = call_module conv(x)  # in ignored_scopes
            conv_1 = call_module conv(conv)  # binarized
            output = output output(conv_1)
        """,
        note=decision,
    )


def test_call_site_of_train_mode_only_stays_in_full_precision() -> None:
    module = capture(AuxiliaryHead(), (torch.rand(1, 2, 4, 4),), {})
    decisions = {"AuxiliaryHead/NNCFConv2d[conv]/conv2d_0": CHOSEN}
    marking = [MarkCallSites(decisions)]
    assert [run_passes(graph, module, marking) for graph in module.all_graphs] == [True, True]
    evaluated, trained = module.traced_graphs
    assert [decision(node) for node in evaluated.nodes if decision(node)] == ["binarized"]
    assert [decision(node) for node in trained.nodes if decision(node)] == ["binarized", TRAIN_ONLY.reason]
    assert [run_passes(graph, module, marking) for graph in module.all_graphs] == [False, False]


def test_other_graphs_are_left_alone() -> None:
    assert_leaves_alone(MarkCallSites({}), captured(NoConv(), 1, 2, 4, 4), note=decision)
