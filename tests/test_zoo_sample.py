"""A few models of the zoos pass all checks; tests/benchmarks/zoo.py checks hundreds."""

import pytest

from tests.transform_check import check
from tests.zoo_cases import case


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision", "squeezenet1_1"),
        ("torchvision", "mobilenet_v3_small"),
        ("timm", "lcnet_035"),
        ("timm", "edgenext_xx_small"),
        ("pytorchcv", "shakedropresnet20_svhn"),
        ("pytorchcv", "enet_cityscapes"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_model_of_a_zoo_keeps_all_promises(library: str, name: str) -> None:
    result = check(case(library, name))
    assert (result.problems, result.notes, result.islands) == ([], [], 0)
    assert result.sites > 0
