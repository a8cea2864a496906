from typing import Any

import pytest
import torch
from torch import nn

from fxbin.scopes.naming import Names
from fxbin.tracing import operators, ops_of, trace
from tests.corner_cases import CASES, CORNER_CASES
from tests.zoo import build_without_data, goldens

FAST = {
    "torchvision": ["alexnet", "convnext_tiny", "googlenet", "mobilenet_v3_small", "resnet18", "vit_b_16"],
    "timm": [
        "coatnet_pico_rw_224",
        "convit_tiny",
        "lcnet_035",
        "mobilevit_xxs",
        "repvgg_a0",
        "tnt_s_patch16_224",
    ],
}
ZOO = [(library, name) for library in FAST for name in goldens(library)]


def compare(model: nn.Module, inputs: tuple[Any, ...], nodes: list[list[str]], targets: list[str]) -> None:
    ops = operators(model, inputs, {})
    names = Names(model, ops)
    assert [list(item) for item in names.listing(ops)] == nodes
    found = {names.name(op) for op in ops if op.tracked and names.nncf_binarizes(op)}
    assert found == set(targets)


@pytest.mark.parametrize("case", [name for name, golden in CORNER_CASES.items() if "nodes" in golden])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_corner_case_has_the_names_and_targets_of_nncf(case: str) -> None:
    golden = CORNER_CASES[case]
    compare(CASES[case](), CASES[case].sample_inputs(), golden["nodes"], golden["targets"])


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("SpectralNormOld", "SpectralNormOld/NNCFConv2d[conv]/conv2d_0"),
        ("KeywordCall", "KeywordCall/NNCFConv2d[conv]/conv2d_0"),
        ("BatchNormNoAffineInEval", "BatchNormNoAffineInEval/NNCFBatchNorm2d[bn]/batch_norm_0"),
        ("LayerNormNoAffine", "LayerNormNoAffine/NNCFLayerNorm[ln]/layer_norm_0"),
        ("GroupNormFunctional", "GroupNormFunctional/group_norm_0"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_case_that_nncf_fails_on_has_a_name_by_the_same_rules(case: str, expected: str) -> None:
    assert "error" in CORNER_CASES[case]
    model = CASES[case]()
    ops = operators(model, CASES[case].sample_inputs(), {})
    assert (expected, expected.rpartition("/")[2].rpartition("_")[0]) in Names(model, ops).listing(ops)


def check_zoo_model(library: str, name: str) -> None:
    golden = goldens(library)[name]
    model = build_without_data(library, name)
    compare(model, tuple(torch.ones(*shape) for shape in golden["input"]), golden["nodes"], golden["targets"])


@pytest.mark.parametrize(("library", "name"), [(library, name) for library in FAST for name in FAST[library]])
def test_zoo_model_has_the_names_and_targets_of_nncf(library: str, name: str) -> None:
    check_zoo_model(library, name)


@pytest.mark.zoo
@pytest.mark.parametrize(("library", "name"), ZOO)
def test_every_zoo_model_has_the_names_and_targets_of_nncf(library: str, name: str) -> None:
    check_zoo_model(library, name)


def test_operator_out_of_sight_of_nncf_has_a_name_that_cannot_be_mistaken() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * x

    model = Hidden()
    traced = trace(model, (torch.ones(1),), {}, training=False)
    ops = [op for node in traced.graph.nodes for op in ops_of(node)]
    names = Names(model, ops)
    assert [names.name(op) for op in ops] == ["/nncf_model_input_0", "Hidden/__mul__#0"]


def test_wrapper_for_several_devices_has_no_part_in_names() -> None:
    model = nn.DataParallel(nn.Sequential(nn.Conv2d(3, 3, 1)))
    ops = operators(model, (torch.ones(1, 3, 2, 2),), {})
    assert ("Sequential/NNCFConv2d[0]/conv2d_0", "conv2d") in Names(model, ops).listing(ops)
