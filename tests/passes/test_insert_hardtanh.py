"""The rewrite "hardtanh" in configs: what it excludes, and what the presets need it for."""

import pytest
import torch
from torch import Tensor

import fxbin
from fxbin.errors import ConfigError
from tests.test_rewrites import Network, rewritten


def test_rprelu_and_hardtanh_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r'compression.rewrites\[1\]: got "hardtanh".* keep one'):
        rewritten(Network(), "rprelu", "hardtanh")


@pytest.mark.parametrize("name", ["bireal", "irnet", "recu"])
def test_signs_around_0_differ_in_presets_that_have_them(name: str) -> None:
    """Behind a ReLU, all of them would be 1."""
    section = {"algorithm": "binarization", "ignored_scopes": [r"{re}\[stem\]|\[downsample\]"]}
    config = {"preset": name, "input_info": {"sample_size": [4, 3, 8, 8]}, "compression": section}
    module = fxbin.transform(Network(), config)
    module.binarization.enable()
    signs: list[Tensor] = []
    for path, layer in module.named_modules():
        if path.endswith("activation_binarizer") and "layer2.conv2" in path:
            layer.register_forward_hook(lambda _layer, _args, y: signs.append(y.detach().sign()))
    module(torch.randn(4, 3, 8, 8))
    assert 0.1 < float((signs[0] > 0).float().mean()) < 0.9
