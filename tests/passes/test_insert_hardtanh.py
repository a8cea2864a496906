import pytest
import torch
from torch import Tensor

import fxbin
from fxbin.added import Hardtanh
from fxbin.errors import ConfigError
from fxbin.passes import InsertHardtanh
from tests.passes.blocks import Residual
from tests.passes.rewriting import assert_rewrites_network, listing, marked, reasons
from tests.test_rewrites import Network, rewritten


def test_relu_behind_the_sum_of_a_block_becomes_hardtanh() -> None:
    module = marked(Residual(), 1, 2, 4, 4)
    assert reasons(InsertHardtanh(), module) == {
        "conv1": 'no sum with a shortcut follows it: the rewrite "shortcuts" may add one',
        "conv2": "",
    }
    assert_rewrites_network(
        InsertHardtanh(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_module relu(bn1)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            iadd = call_function iadd(bn2, x)
            conv2_hardtanh = call_module conv2.hardtanh(iadd)
            output = output output(conv2_hardtanh)
        """,
    )
    assert isinstance(module.get_submodule("conv2.hardtanh"), Hardtanh)


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
