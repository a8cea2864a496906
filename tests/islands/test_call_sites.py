"""Call sites in parts around islands: names, what they share, what selects them, what the report says."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.errors import TransformError
from fxbin.nncf.keys import entries
from fxbin.nncf.load import match_keys
from tests.corner_cases import CASES, CORNER_CASES
from tests.islands import models
from tests.islands.models import IMAGES, Detector, detector
from tests.transform_check import CONFIG, Case, check
from tests.transforming import config


def test_report_says_what_runs_as_it_is_and_why() -> None:
    report = fxbin.summary(detector())
    assert [island.scope for island in report.islands] == ["Detector", "Detector/Head[head]"]
    assert "content" in report.islands[0].reason
    assert f"{models.__file__}:" in report.islands[0].reason
    assert "len(maps)" in report.islands[1].reason
    assert "runs as plain Python: Detector: " in str(report)
    assert report.to_dict()["islands"][1]["owner"] == "head"


def test_call_sites_have_the_names_that_they_have_in_the_model() -> None:
    binarized = detector()
    names = [name for name, op in fxbin.node_names(binarized, CONFIG) if op == "conv2d"]
    assert names == [name for name, op in fxbin.node_names(Detector(), CONFIG, IMAGES) if op == "conv2d"]
    assert "Detector/Pyramid[backbone]/NNCFConv2d[lateral]/conv2d_2" in names
    assert "Detector/Head[head]/Sequential[tower]/NNCFConv2d[0]/conv2d_2" in names
    assert set(binarized.binarization.sites) == set(names)


def test_calls_of_a_part_share_its_binarizers_and_calls_inside_of_it_have_their_own() -> None:
    sites = detector().binarization.sites
    tower = [sites[f"Detector/Head[head]/Sequential[tower]/NNCFConv2d[0]/conv2d_{i}"] for i in range(3)]
    lateral = [sites[f"Detector/Pyramid[backbone]/NNCFConv2d[lateral]/conv2d_{i}"] for i in range(3)]
    assert len({site.activation for site in tower}) == 1
    assert len({site.activation for site in lateral}) == 3
    assert len({site.weight for site in lateral}) == 1


def test_ignored_call_leaves_all_calls_of_its_part_alone() -> None:
    name = "Detector/Head[head]/Sequential[tower]/NNCFConv2d[0]/conv2d_1"
    settings = config(1, 3, 8, 8, ignored_scopes=[name])
    report = fxbin.summary(fxbin.transform(Detector(), settings, IMAGES))
    assert [s.reason.split(":")[0] for s in report.sites if "tower" in s.name] == ["in ignored_scopes"] * 3


@pytest.mark.parametrize("case", ["ShapeControlFlow"])
def test_selected_call_sites_are_those_of_nncf(case: str) -> None:
    settings = {"compression": {"algorithm": "binarization", "call_sites": "modules"}}
    binarized = fxbin.transform(CASES[case](), settings, CASES[case].sample_inputs())
    assert set(binarized.binarization.sites) == set(CORNER_CASES[case]["targets"])
    assert [list(node) for node in fxbin.node_names(binarized, settings)] == CORNER_CASES[case]["nodes"]
    assert fxbin.summary(binarized).never_ran == ("big",)


def test_model_of_which_only_content_decides_and_that_has_no_conv2d_is_refused_as_ever() -> None:
    with pytest.raises(TransformError, match="SkipTraceOps runs no conv2d in eval mode"):
        fxbin.transform(CASES["SkipTraceOps"](), CONFIG, CASES["SkipTraceOps"].sample_inputs())


class Sometimes(nn.Module):
    """Calls a convolution as often as the content says, and another one by its function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.kernel = nn.Parameter(torch.rand(3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.mean() * 10)):
            x = self.conv(x).sigmoid() / 3
        return F.conv2d(x, self.kernel)


def test_convolution_is_called_as_often_as_content_says() -> None:
    model = Sometimes()
    binarized = fxbin.transform(model, CONFIG, (torch.full((1, 3, 8, 8), 0.15),))
    for value in (0.0, 0.15, 0.25):
        x = torch.full((2, 3, 6, 6), value)
        assert torch.equal(model(x), binarized(x))
    conv, function = fxbin.summary(binarized).sites
    assert conv.binarized
    assert function.reason.startswith("the code of Sometimes calls it, as plain Python: ")


def test_parameters_of_two_calls_that_share_a_binarizer_must_agree() -> None:
    binarized = fxbin.transform(Sometimes(), CONFIG, (torch.full((1, 3, 8, 8), 0.25),))
    assert len(binarized.binarization.sites) == 2
    own = binarized.state_dict()
    file = {e.nncf: torch.zeros(1) if e.own is None else own[e.own].clone() for e in entries(binarized)}
    assert not match_keys(binarized, file).wrong
    file["conv.pre_ops.3.op.scale"] += 1
    (problem,) = match_keys(binarized, file).wrong
    assert problem.startswith("conv.pre_ops.3.op.scale: differs from that of another call")


class HasAuxiliaryHeads(nn.Module):
    """One head in a part, one called by the code around parts: both in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last, self.head = HasHead(), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.body(x)
        if found[0].sum() > -1e9:
            found.append(self.last(found[0]))
        return [*found, self.head(found[0])] if self.training else found


class HasHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [y, self.head(y)] if self.training else [y]


def test_heads_that_only_train_stay_in_full_precision_and_the_report_says_so() -> None:
    model = HasAuxiliaryHeads()
    found = check(Case(model, lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites) == ([], 2)
    report = fxbin.summary(fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),)))
    assert [site.owner for site in report.sites if site.train_only] == ["body.head"]
    assert "it runs in train mode only" in str(report)
    assert report.never_ran == ("head",)
    assert "left in full precision, never ran with the example inputs in eval mode: head" in str(report)
