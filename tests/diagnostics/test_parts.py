"""Diagnostics of binarizers that are composed of parts."""

import math

import pytest
import torch
from torch import nn

import fxbin

CONFIG = {
    "input_info": {"sample_size": [1, 3, 8, 8]},
    "compression": {
        "algorithm": "binarization",
        "activations": {"levels": "sign", "estimator": "approx_sign"},
        "weights": {"latent": "center"},
    },
}


def test_what_is_high_flips_and_lies_between_the_levels_is_that_of_the_parts() -> None:
    model = fxbin.transform(nn.Conv2d(3, 2, 2, bias=False), CONFIG)
    (site,) = model.binarization.sites.values()
    weight = model.get_parameter("weight")
    with (
        torch.no_grad()
    ):  # above 0 everywhere: a quarter of the first filter is above its mean, half of the other
        weight.copy_(torch.tensor([[1.0, 1, 1, 5] * 3, [1.0, 1, 5, 5] * 3]).view(2, 3, 2, 2))
    with fxbin.Diagnostics(model) as diagnostics:
        model.binarization.enable()
        model(torch.rand(2, 3, 8, 8) - 7)
        with torch.no_grad():
            weight[0, 0, 0, 0] = 9.0  # now above the mean, which 5 still is
        (report,) = diagnostics.report().sites
    assert report.fired == pytest.approx(0.5, abs=0.1)
    assert report.flipped == pytest.approx(1 / 24)
    high = site.activation.scale.exp().item()
    assert (report.low, report.scale) == pytest.approx((-high, 2 * high))
    third = 4 / 12
    entropy = -(third * math.log2(third) + (1 - third) * math.log2(1 - third))
    assert report.entropy == pytest.approx((entropy + 1) / 2)
    assert report.scale_gradient is None
