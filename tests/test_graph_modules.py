"""Models that are graph modules already, also of classes derived from those of torch.fx."""

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, fx, nn

import fxbin
from fxbin.errors import TransformError
from tests.transforming import SMALL, Small, assert_same_outputs

feature_extraction = pytest.importorskip("torchvision.models.feature_extraction")


class Drops(Small):
    """Its train and eval mode are two graphs to torchvision, which fixes `training` in each."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        y: Tensor = x + self.conv2(nn.functional.dropout(x, 0.5, self.training))
        return y


@pytest.mark.parametrize("training", [True, False])
def test_feature_extractor_of_torchvision(training: bool) -> None:
    extractor = feature_extraction.create_feature_extractor(Drops().train(training), ["conv1", "add"])
    binarized = fxbin.transform(extractor, SMALL)
    assert binarized.training is training
    x = torch.rand(2, 3, 8, 8)
    assert_same_outputs(extractor, binarized, x)
    assert_same_outputs(extractor, copy.deepcopy(binarized), x)
    eval_outputs = cast("dict[str, Tensor]", binarized.eval()(x))
    binarized.binarization.enable(activations=True, weights=True)
    assert not torch.equal(binarized(x)["add"], eval_outputs["add"])


def test_graph_of_eval_mode_is_shown_after_a_class_switches_graphs() -> None:
    binarized = fxbin.transform(feature_extraction.create_feature_extractor(Drops(), ["conv1", "add"]), SMALL)
    shown = binarized.graph
    binarized.eval().train()
    assert binarized.graph is shown
    assert len(fxbin.summary(binarized).sites) == 2


@pytest.mark.parametrize("training", [True, False])
def test_names_are_asked_for_without_a_change_of_the_graph_module(training: bool) -> None:
    extractor = feature_extraction.create_feature_extractor(Drops(), ["add"]).train(training)
    before = extractor.code, type(extractor).forward.__code__.co_code
    fxbin.node_names(extractor, SMALL)
    fxbin.node_names(nn.Sequential(extractor), SMALL)
    assert (extractor.code, type(extractor).forward.__code__.co_code) == before


class Made(fx.GraphModule):
    """Takes other arguments than its base class."""

    def __init__(self, extra: int, *, root: nn.Module) -> None:
        super().__init__(root, fx.symbolic_trace(root).graph)
        self.extra = extra

    def doubled(self) -> int:
        return 2 * self.extra


def test_graph_module_with_an_init_of_its_own() -> None:
    model = Made(3, root=Small())
    binarized: Any = fxbin.transform(model, SMALL)
    assert binarized.doubled() == 6
    assert_same_outputs(model, binarized, torch.rand(2, 3, 8, 8))


@fx.wrap
def positive(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


class LooksAtContent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return positive(self.conv(x))


def test_graph_module_that_runs_as_it_is() -> None:
    model = fx.symbolic_trace(LooksAtContent())
    binarized = fxbin.transform(model, SMALL)
    assert [island.owner for island in binarized.islands] == [""]
    assert_same_outputs(model, binarized, torch.rand(2, 3, 8, 8))


def test_graph_module_that_switches_graphs_and_has_to_run_as_it_is_is_refused() -> None:
    class Switches(fx.GraphModule):
        def train(self, mode: bool = True) -> "Switches":
            return super().train(mode)

    model = LooksAtContent()
    switches = Switches(model, fx.symbolic_trace(model).graph)
    with pytest.raises(TransformError, match=r"may switch graphs in train\(\).*content of a tensor"):
        fxbin.transform(switches, SMALL)
