import pytest
import torch
from torch import nn

from fxbin.lowering.inputs import BoundInputs
from fxbin.verification.reference import special_values
from fxbin.verification.rounding import output_changes
from tests.binarizing import binarize


def test_special_values_hold_every_kind_in_every_channel() -> None:
    x = torch.zeros(1, 3, 40, 40)
    model = binarize(nn.Conv2d(3, 4, 3), x)
    (site,) = model.binarization.sites.values()
    values = special_values(site.activation, x)
    threshold, _, s = (level.detach() for level in site.activation.levels())
    assert values.shape == x.shape
    for channel in range(3):
        found = values[:, channel]
        t = threshold[0, channel].squeeze()
        for wanted in (t, torch.nextafter(t, s[0] + 9), torch.nextafter(t, -s[0]), s[0], -s[0]):
            assert (found == wanted).any()
        assert found.isposinf().any()
        assert found.isneginf().any()
        assert (torch.signbit(found) & (found == 0)).any()


@pytest.mark.usefixtures("in_float")  # compared to the bit
def test_a_value_at_its_threshold_is_seen_in_the_outputs_and_others_are_not() -> None:
    x = torch.rand(1, 8, 4, 4)
    model = binarize(nn.Conv2d(8, 4, 1), x)
    (site,) = model.binarization.sites.values()
    threshold, _, s = (level.detach() for level in site.activation.levels())
    apart = torch.where(x > 0.5, threshold + 0.1 * s, threshold - 0.1 * s)
    assert output_changes(model, BoundInputs((apart,), ("x",))) == [0.0]
    at = apart.clone()
    at[0, 0, 0, 0] = torch.nextafter(threshold[0, 0, 0, 0], s[0] + 9)
    (change,) = output_changes(model, BoundInputs((at,), ("x",)), runs=10)
    a = site.weight.scale(model.get_parameter("weight")).detach()
    torch.testing.assert_close(torch.tensor(change), (a.max() * s[0]))
    assert not site.activation._forward_pre_hooks


@pytest.mark.usefixtures("in_float")  # compared to the bit
def test_a_value_that_nothing_rounds_crosses_no_threshold() -> None:
    layers = [nn.Conv2d(8, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1)]
    model = binarize(
        nn.Sequential(*layers), torch.zeros(1, 8, 4, 4), parts={"activations": {"levels": "sign"}}
    )
    weight, activation = model.get_parameter("0.weight"), [*model.binarization.sites.values()][1].activation
    nn.init.zeros_(weight)  # so all inputs of the second are 0, and at their thresholds
    nn.init.zeros_(activation.get_parameter("shift"))
    x = torch.randn(1, 8, 4, 4)
    assert output_changes(model, BoundInputs((x,), ("x",))) == [0.0]
    nn.init.ones_(weight)
    with torch.no_grad():
        weight[:, ::2] = -1  # so some sums of positive and negative numbers are 0, or next to it
    (change,) = output_changes(model, BoundInputs((x,), ("x",)))
    assert change > 0.01
