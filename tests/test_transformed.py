"""Functions that take a transformed model accept wrappers that compute nothing else, and reject others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import fxbin
from fxbin.binarized.unwrap import transformed
from fxbin.errors import TransformError
from tests.binarizing import binarize

X = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))


def fabric(model: nn.Module) -> Any:
    lightning = pytest.importorskip("lightning.fabric")
    return lightning.Fabric(accelerator="cpu", devices=1).setup_module(model)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        nn.DataParallel,
        AveragedModel,
        fabric,
        lambda model: torch.compile(nn.DataParallel(model)),
    ],
)
def test_a_wrapper_that_computes_no_more_is_looked_into(wrap: Any) -> None:
    model = binarize(nn.Sequential(nn.Conv2d(8, 8, 3)), X)
    wrapped = wrap(model)
    inner = transformed(wrapped, "export_onnx")
    assert inner is model or isinstance(wrapped, AveragedModel)
    torch.testing.assert_close(inner(X), model(X), rtol=0, atol=0)
    assert fxbin.summary(wrapped).sites == fxbin.summary(model).sites


def test_distributed_data_parallel_is_looked_into(tmp_path: Path) -> None:
    model = binarize(nn.Sequential(nn.Conv2d(8, 8, 3)), X)
    init = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=init, rank=0, world_size=1)
    try:
        assert transformed(nn.parallel.DistributedDataParallel(model), "export_onnx") is model
    finally:
        torch.distributed.destroy_process_group()


class Own(nn.DataParallel[nn.Module]):
    """A subclass that computes something."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x / 255)


class Normalised(nn.Module):
    """A wrapper of a user, which does compute something."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        return self.module(x / 255)


@pytest.mark.parametrize("wrap", [Own, Normalised])
def test_a_wrapper_that_may_compute_something_is_refused_with_the_hint(wrap: Any) -> None:
    wrapped = wrap(binarize(nn.Sequential(nn.Conv2d(8, 8, 3)), X))
    message = rf"^fxbin.x: .* got {wrap.__name__}; it holds one as `\.module`$"
    with pytest.raises(TransformError, match=message):
        transformed(wrapped, "x")


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TransformError, match=r"^fxbin.x: expected a model .* got str$"):
        transformed("model.onnx", "x")  # type: ignore[arg-type]
