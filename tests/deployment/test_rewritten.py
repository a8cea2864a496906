"""Deployed models with rewrites: RPReLU becomes part of the packed convolutions around it."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.engine.library import Engine
from tests.passes.blocks import Residual, conv
from tests.test_rewrites import Network, config, rewritten

REWRITES = ("shortcuts", "rprelu", "downsample_pooling")
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module, *rewrites: str, dtype: torch.dtype = torch.float32, **keys: Any) -> Any:
    """A rewritten model in its last stage, in eval mode, with RPReLUs that have learned something."""
    module = rewritten(model.to(dtype), *rewrites, params={"activation_scale_init": "mse"}, **keys)
    for name, parameter in module.named_parameters():
        if "rprelu" in name:
            nn.init.normal_(parameter)
    module.binarization.enable()
    module.train()(X.to(dtype))
    return module.eval()


def error(module: Any, deployed: Any, x: Tensor) -> float:
    with torch.no_grad():
        expected, found = module(x), deployed(x)
    return float((expected - found).abs().max() / expected.abs().max())


@pytest.mark.parametrize("rewrites", [REWRITES, ("rprelu",), (*REWRITES, "norm_before_binarize")])
def test_rprelu_is_fused(built: Engine, rewrites: tuple[str, ...]) -> None:
    module = trained(Network(), *rewrites)
    deployed = fxbin.deploy(module)
    assert "rprelu](" not in str(deployed.graph)
    for size in (8, 9):
        assert error(module, deployed, torch.rand(3, 3, size, size)) < 1e-5
    report = fxbin.compare_runtimes(module, inputs=[X], runtimes=["engine"], layers=True)
    assert report.is_right, report


class Siamese(nn.Module):
    """One strided block for two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(3, 4), Residual(4, 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(self.stem(x)) - self.block(self.stem(x.flip(-1) + 1))
        return y.mean((2, 3))


class OwnShortcut(nn.Module):
    """A block whose shortcut is a function of the layer's weight, with another bias than the layer has."""

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = conv(3, 4), conv(4, 8, 3, 2), conv(8, 8)
        self.downsample, self.norm = nn.Conv2d(4, 8, 1, 2), nn.BatchNorm2d(8)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = F.conv2d(x, self.downsample.weight, self.bias, 2)
        return self.norm(F.relu(self.conv2(self.conv1(x)) + shortcut))  # type: ignore[no-any-return]


class Whole(nn.Module):
    """A module that is kept whole."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample = nn.Conv2d(4, 8, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.downsample(x)
        return y


class CalledInside(OwnShortcut):
    """A block whose shortcut's layer is called in another module, too."""

    def __init__(self) -> None:
        super().__init__(None)
        self.whole = Whole()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = F.conv2d(x, self.whole.downsample.weight, self.whole.downsample.bias, 2)
        y: Tensor = self.norm(F.relu(self.conv2(self.conv1(x)) + shortcut)) + self.whole(x)
        return y


@pytest.mark.parametrize("make", [Siamese, lambda: OwnShortcut(None), lambda: OwnShortcut(torch.rand(8))])
def test_a_pooled_shortcut_computes_the_same_with_a_weight_that_is_used_twice_or_by_code(
    built: Engine, make: Any
) -> None:
    model = make()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 2, 3)
    module = trained(model, *REWRITES, ignored_scopes=["{re}stem|downsample|OwnShortcut/conv2d_"])
    assert error(module, fxbin.deploy(module), X) < 1e-5


def test_a_layer_that_a_module_kept_whole_calls_keeps_its_stride(built: Engine) -> None:
    ignored = ["{re}stem|downsample|CalledInside/conv2d_"]
    settings = config(*REWRITES, ignored_scopes=ignored, params={"activation_scale_init": "mse"})
    module = fxbin.transform(CalledInside(), settings, leaf_modules=(Whole,))
    module.binarization.enable()
    module.train()(X)
    assert error(module.eval(), fxbin.deploy(module), X) < 1e-5


def test_hardtanh_is_computed_between_packed_convolutions(built: Engine) -> None:
    module = trained(Network(), "shortcuts", "hardtanh")
    assert error(module, fxbin.deploy(module), 3 * torch.randn(3, 3, 9, 9)) < 1e-5
    report = fxbin.compare_runtimes(module, inputs=[X], runtimes=["engine", "onnxruntime"], layers=True)
    assert report.is_right, report


def test_what_reads_floats_gets_the_shift(built: Engine) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.last = Residual(3, 3), conv(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.block(x)
            z: Tensor = F.max_pool2d(y, 2).mean((2, 3)) + self.last(y).mean((2, 3)) + y.mean((2, 3))
            return z

    module = trained(Pooled(), "rprelu", ignored_scopes=None)
    deployed = fxbin.deploy(module)
    assert str(deployed.graph).count("rprelu.zeta") == 1
    assert error(module, deployed, torch.rand(2, 3, 8, 8)) < 1e-5


def test_hooks_keep_it_a_layer(built: Engine) -> None:
    module = trained(Network(), *REWRITES)
    seen: list[Tensor] = []
    module.layer1.conv1.rprelu.register_forward_hook(lambda _module, _args, y: seen.append(y))
    deployed = fxbin.deploy(module)
    assert str(deployed.graph).count("rprelu](") == 1
    seen.clear()
    assert error(module, deployed, X) < 1e-5
    assert len(seen) == 2


def test_other_dtypes(built: Engine) -> None:
    module = trained(Network(), *REWRITES, dtype=torch.float64)
    assert error(module, fxbin.deploy(module), X.double()) < 1e-6


def test_the_pooled_convolution_is_a_layer_that_takes_in_its_norm(built: Engine) -> None:
    module = trained(Network(), *REWRITES)
    deployed = fxbin.deploy(module)
    layer = deployed.get_submodule("layer2.downsample.0")
    assert isinstance(layer, nn.Conv2d)
    assert layer.stride == (1, 1)
    assert "downsample.1" not in str(deployed.graph)
    assert module.layer2.downsample[0].stride == (2, 2)


def test_an_exported_file_computes_the_same(built: Engine, tmp_path: Path) -> None:
    module = trained(Network(), *REWRITES)
    fxbin.export_program(module, tmp_path / "model.pt2")
    assert error(module, torch.export.load(tmp_path / "model.pt2").module(), X) < 1e-5
    fxbin.export_onnx(module, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    assert error(module, lambda _x: torch.from_numpy(found), X) < 1e-5
