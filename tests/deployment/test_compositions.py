"""Models whose binarizers are composed of parts, deployed: what they compute, in 1 bit."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor

import fxbin
from fxbin.engine.library import Engine
from tests.binarizing import binarize
from tests.compositions import COMPOSITIONS
from tests.one_conv import CALL_SITES, OneConv
from tests.transforming import Small

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


@pytest.mark.parametrize("parts", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_every_composition_runs_in_one_bit_on_the_engine(parts: dict[str, Any], built: Engine) -> None:
    model = binarize(Small(), X, parts=parts)
    deployed = fxbin.deploy(model)
    assert [site.reason for site in deployed.deployed_sites] == ["", ""]
    with torch.no_grad():
        assert error(deployed(X), model(X)) <= 1e-5
    file = io.BytesIO()
    torch.save(deployed.state_dict(), file)
    assert file.getbuffer().nbytes < 40_000


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", ["irnet", "adabin"])
@pytest.mark.parametrize(("arguments", "options"), CALL_SITES[:10])
def test_padding_groups_and_sizes_with_levels_other_than_zero(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], built: Engine
) -> None:
    x = torch.randn(2, arguments[0], 9, 10)
    model = binarize(OneConv(*arguments, **options), x[:1], parts=COMPOSITIONS[name])
    deployed = fxbin.deploy(model)
    assert [site.reason for site in deployed.deployed_sites] == [""]
    with torch.no_grad():
        assert error(deployed(x), model(x)) <= 1e-5
