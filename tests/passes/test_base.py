from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import fx, nn

from fxbin.passes import Pass, run_passes
from tests.passes.rewriting import captured
from tests.passes.small_models import OneConv


@dataclass(frozen=True)
class Nothing(Pass):
    name: ClassVar[str] = "nothing"

    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        return False


@dataclass(frozen=True)
class Break(Pass):
    """Leaves a graph that refers to what the module does not have."""

    name: ClassVar[str] = "break"

    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        node = next(node for node in graph.nodes if node.op == "call_module")
        node.target = "absent"
        return True


@dataclass(frozen=True)
class Fail(Pass):
    name: ClassVar[str] = "fail"

    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        raise KeyError("x")


def run_all(passes: list[Pass]) -> bool:
    module = captured(OneConv(), 1, 2, 4, 4)
    return run_passes(module.graph, module, passes)


def test_passes_that_change_nothing_report_that() -> None:
    assert not run_all([Nothing(), Nothing()])


def test_failure_keeps_its_type_and_names_the_pass() -> None:
    with pytest.raises(KeyError) as caught:
        run_all([Nothing(), Fail()])
    assert caught.value.__notes__ == ["in pass 'fail', after ['nothing']"]


def test_graph_is_checked_after_each_pass() -> None:
    with pytest.raises(RuntimeError, match="absent") as caught:
        run_all([Break(), Nothing()])
    assert caught.value.__notes__ == ["in pass 'break', after []"]
