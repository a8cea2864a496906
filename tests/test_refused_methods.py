"""Saving and loading as `huggingface_hub` does, by methods of the model's class."""

from pathlib import Path
from typing import Any, Self

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

import fxbin
from fxbin.errors import TransformError
from tests.transforming import SMALL, Small, config


class HubMixin:
    """What `huggingface_hub.PyTorchModelHubMixin` does where there is no network."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        model: Any = cls()
        load_model(model, str(folder / "model.safetensors"), strict=False)
        loaded: Self = model.eval()
        return loaded

    def save_pretrained(self: Any, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        save_model(self, str(folder / "model.safetensors"))

    def push_to_hub(self, name: str) -> None:
        raise NotImplementedError(name)


def mixin(source: str) -> Any:
    if source == "stand-in":
        return HubMixin
    return pytest.importorskip("huggingface_hub").PyTorchModelHubMixin


SOURCES = pytest.mark.parametrize("source", ["stand-in", "huggingface_hub"])


@SOURCES
def test_the_made_class_refuses_what_loads_and_saves_the_plain_one(source: str, tmp_path: Path) -> None:
    class Net(Small, mixin(source)): ...  # type: ignore[misc]

    plain: Any = Net()
    plain.save_pretrained(tmp_path / "plain")
    binarized: Any = fxbin.transform(Net(), SMALL)
    for refused in (binarized.from_pretrained, type(binarized).from_pretrained, binarized.save_pretrained):
        with pytest.raises(
            TransformError, match=r"pretrained: it knows only the plain Net.*fxbin\.transform"
        ):
            refused(tmp_path / "plain")
    with pytest.raises(TransformError, match="push_to_hub: it knows only the plain Net"):
        binarized.push_to_hub("name")
    assert isinstance(Net.from_pretrained(tmp_path / "plain"), Net)  # the plain class goes on as before


@SOURCES
def test_a_class_that_holds_a_transformed_model_is_saved_and_loaded(source: str, tmp_path: Path) -> None:
    class BinaryNet(nn.Module, mixin(source)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = fxbin.transform(Small(), SMALL)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.model(x)
            return y

    net: Any = BinaryNet()
    x = torch.rand(2, 3, 8, 8)
    net.model.binarization.enable(activations=True, weights=True)
    net(x)
    net.save_pretrained(tmp_path)
    loaded: Any = BinaryNet.from_pretrained(tmp_path)
    assert loaded.model.binarization.stage == net.model.binarization.stage
    assert torch.equal(loaded.eval()(x), net.eval()(x))


def test_a_model_without_such_methods_gets_none() -> None:
    binarized = fxbin.transform(Small(), config(2, 3, 8, 8))
    assert not hasattr(binarized, "from_pretrained")
    assert not hasattr(binarized, "save_pretrained")


def test_torchscript_compiles_no_transformed_model() -> None:
    with pytest.raises(TransformError, match=r"torch\.jit\.script: .*torch\.jit\.trace\(model\.eval"):
        torch.jit.script(fxbin.transform(Small(), SMALL))
