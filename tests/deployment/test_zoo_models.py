"""A few models of the zoos compute the same when they are deployed."""

import pytest
import torch
from torch import Tensor

import fxbin
from fxbin.engine.library import Engine
from tests.binarizing import as_if_trained
from tests.transforming import config
from tests.zoo_cases import case


@pytest.mark.parametrize(
    ("library", "name"),
    [("torchvision", "mobilenet_v3_small"), ("pytorchcv", "enet_cityscapes")],
)
@pytest.mark.filterwarnings("ignore")
def test_model_of_a_zoo(built: Engine, library: str, name: str) -> None:
    found = case(library, name)
    (x,) = found.inputs(1)
    model = as_if_trained(fxbin.transform(found.model, config(*x.shape)))
    deployed = fxbin.deploy(model)
    assert [site.reason for site in deployed.deployed_sites if site.reason] == []
    with torch.no_grad():
        expected, outputs = first(model(x)), first(deployed(x))
    # A value next to a threshold may fall on its other side, and of equal values a pooling may take another
    # one: single outputs differ then, as they do between float32 and float64. A wrong layer changes all.
    assert (outputs - expected).abs().mean() <= 5e-3 * expected.abs().max()


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The only output, or the main one."""
    return output if isinstance(output, Tensor) else output[0]
