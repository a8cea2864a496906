"""Which form of a network is evaluated."""

import pytest
import torch
from torch import nn

import fxbin
from fxbin.deployment.deployed_module import DeployedModule
from fxbin.train import evaluated
from fxbin.train.epoch import predict
from fxbin.train.evaluated import DEPLOYED_FROM, evaluated_form

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
def binarized() -> fxbin.BinarizedModule:
    """A small network whose stages are on."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    config = {
        "input_info": {"sample_size": [1, 1, 8, 8]},
        "compression": {"algorithm": "binarization", "ignored_scopes": ["Sequential/NNCFConv2d[0]/conv2d_0"]},
    }
    transformed = fxbin.transform(model, config)
    transformed.binarization.enable(activations=True, weights=True)
    transformed(torch.rand(16, 1, 8, 8))
    return transformed.eval()


def test_many_images_are_evaluated_by_the_deployed_network(binarized: fxbin.BinarizedModule) -> None:
    assert isinstance(evaluated_form(binarized, DEPLOYED_FROM), DeployedModule)
    x = torch.rand(DEPLOYED_FROM, 1, 8, 8)
    expected = torch.cat([binarized(part).detach() for part in x.split(500)])
    difference = (predict(binarized, x) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5


def test_it_has_the_weights_of_the_moment(binarized: fxbin.BinarizedModule) -> None:
    x = torch.rand(DEPLOYED_FROM, 1, 8, 8)
    before = predict(binarized, x)
    with torch.no_grad():
        binarized.get_parameter("7.bias").add_(1)
    torch.testing.assert_close(predict(binarized, x), before + 1)


@pytest.mark.parametrize("case", ["few images", "a stage is off", "a scale is unset", "float64", "no engine"])
def test_others_are_evaluated_as_they_are(
    binarized: fxbin.BinarizedModule, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = 10 if case == "few images" else DEPLOYED_FROM
    (site,) = binarized.binarization.sites.values()
    if case == "a stage is off":
        site.weight.disable()
    if case == "a scale is unset":
        site.activation.scale_initialized.zero_()
    if case == "float64":
        binarized.double()
    if case == "no engine":
        monkeypatch.setattr(evaluated, "training_engine", lambda: None)
    assert evaluated_form(binarized, images) is binarized
    assert isinstance(evaluated_form(nn.Linear(2, 2), images), nn.Linear)
