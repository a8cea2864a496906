import pytest
import torch
from torch import nn

import fxbin
from fxbin.binarized.state import BinarizationState
from fxbin.errors import ScopeError

CONFIG = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}}
FIRST, SECOND = (f"Sequential/NNCFConv2d[{index}]/conv2d_0" for index in (0, 1))


def state() -> BinarizationState:
    return fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), CONFIG).binarization


def test_enable_alone_switches_both_on_and_otherwise_only_what_is_named() -> None:
    binarization = state()
    binarization.enable(sites=[SECOND])
    assert binarization.enabled == {FIRST: (False, False), SECOND: (True, True)}
    binarization.enable()
    assert binarization.enabled == dict.fromkeys((FIRST, SECOND), (True, True))
    binarization.enable(weights=False)
    assert binarization.enabled == dict.fromkeys((FIRST, SECOND), (True, False))
    binarization.enable(activations=False, sites=[FIRST])
    assert binarization.enabled == {FIRST: (False, False), SECOND: (True, False)}


def test_an_unknown_site_changes_nothing() -> None:
    binarization = state()
    with pytest.raises(ScopeError, match="sites: 'conv' is not a binarized call site of this model"):
        binarization.enable(sites=[FIRST, "conv"])
    assert binarization.enabled == dict.fromkeys((FIRST, SECOND), (False, False))


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_inputs_of_another_dtype_are_the_same_error_as_without_fxbin(enabled: bool, training: bool) -> None:
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), CONFIG).train(training)
    model.binarization.enable(activations=enabled, weights=enabled)
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"double.*float|float.*double"):
        nn.Conv2d(3, 4, 3)(x)
    with pytest.raises(RuntimeError, match=r"double.*float|float.*double"):
        model(x)
