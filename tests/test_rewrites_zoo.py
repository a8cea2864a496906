"""compression.rewrites on networks of three libraries: what changes, and that the results run everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fxbin

Counts = tuple[int, int]
"""Call sites that a rewrite has changed, and all that it is about."""


@dataclass(frozen=True)
class Network:
    """A network, and what rewrites do to it."""

    library: str
    name: str
    ignored: str
    """Regular expression for the stem and the shortcuts, which stay in full precision."""

    shortcuts: Counts
    rprelu: Counts
    pooling: Counts
    size: int = 64

    def build(self) -> nn.Module:
        if self.library == "torchvision":
            import torchvision

            return torchvision.models.get_model(self.name, num_classes=10)  # type: ignore[no-any-return]
        if self.library == "timm":
            import timm

            return timm.create_model(self.name, num_classes=10)  # type: ignore[no-any-return]
        from pytorchcv.model_provider import get_model

        return get_model(self.name, num_classes=10)  # type: ignore[no-any-return]


RESNET = r"{re}^ResNet/NNCFConv2d\[conv1\]|^ResNet/Sequential\[conv1\]|downsample"
NETWORKS = [
    Network("torchvision", "resnet18", RESNET, (16, 16), (16, 16), (3, 3)),
    Network("torchvision", "resnet34", RESNET, (32, 32), (32, 32), (3, 3)),
    Network("torchvision", "resnet50", RESNET, (17, 48), (33, 48), (3, 3)),
    Network("torchvision", "vgg16_bn", r"{re}features\]/NNCFConv2d\[0\]", (12, 12), (12, 12), (0, 0)),
    Network("timm", "resnet18d", RESNET, (16, 16), (16, 16), (0, 0)),
    Network("timm", "regnetx_002", r"{re}\[stem\]|downsample", (35, 39), (35, 39), (4, 4)),
    Network("pytorchcv", "preresnet18", r"{re}init_block|identity_conv", (16, 16), (16, 16), (3, 3), 224),
    Network("pytorchcv", "mobilenet_w1", r"{re}init_block", (26, 26), (26, 26), (0, 0), 224),
]


def changed(model: Any, key: str) -> Counts:
    found = [
        each for at_site in model.binarization.rewrites.values() for each in at_site if each.rewrite == key
    ]
    return sum(bool(each.change) for each in found), len(found)


@pytest.mark.zoo
@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.filterwarnings("ignore")
def test_network_is_rewritten_trains_and_runs_everywhere(
    network: Network, norms: bool, tmp_path: Path
) -> None:
    check(network, norms, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_resnet18_is_rewritten_trains_and_runs_everywhere(tmp_path: Path) -> None:
    check(NETWORKS[0], False, tmp_path)


def check(network: Network, norms: bool, folder: Path) -> None:
    torch.manual_seed(0)
    model, size = network.build(), (1, 3, network.size, network.size)
    rewrites = ["shortcuts", "rprelu", "downsample_pooling", *(["norm_before_binarize"] if norms else [])]
    section = {
        "algorithm": "binarization",
        "ignored_scopes": [network.ignored],
        "rewrites": rewrites,
        "params": {"activation_scale_init": "mse", "activation_threshold_init": "mse"},
    }
    module: Any = fxbin.transform(model, {"input_info": {"sample_size": size}, "compression": section})
    assert (changed(module, "shortcuts"), changed(module, "rprelu")) == (network.shortcuts, network.rprelu)
    assert changed(module, "downsample_pooling") == network.pooling
    own = model.state_dict()
    found = module.state_dict()
    assert [key for key in found if key in own] == list(own)
    assert all(torch.equal(found[key], value) for key, value in own.items())
    _train(module, torch.rand(2, *size[1:]))
    _runs_alike(module, torch.rand(size), folder)


def _train(module: Any, x: torch.Tensor) -> None:
    module.train().binarization.enable()
    optimizer = torch.optim.SGD(module.parameters(), 1e-6)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(module(x), torch.tensor([0, 1])).backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in module.parameters())


@torch.no_grad()
def _runs_alike(module: Any, x: torch.Tensor, folder: Path) -> None:
    expected = module.eval()(x)
    fxbin.export_onnx(module, folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (exported,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    runs: dict[str, Callable[[], torch.Tensor]] = {
        "onnxruntime": lambda: torch.from_numpy(exported),
        "engine": lambda: fxbin.deploy(module)(x),
    }
    scale = float(expected.abs().max())
    for name, run in runs.items():
        assert float((run() - expected).abs().max()) < 1e-4 * scale, name
