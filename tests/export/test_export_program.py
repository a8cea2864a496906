"""`fxbin.export_program`: a file for PyTorch computes what the deployed model computes, and stays whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.engine.library import Engine
from fxbin.errors import ExportError, TransformError
from tests.binarizing import as_if_trained, binarize
from tests.transforming import Small

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
# torch 2.9 warns when it loads a program.
pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")


@pytest.fixture
def model() -> BinarizedModule:
    """`Small` in its last stage, in eval mode."""
    return binarize(Small(), X)


def load(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def test_file_computes_what_the_deployed_model_computes(
    built: Engine, model: BinarizedModule, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    deployed = fxbin.export_program(model, path)
    assert len(deployed.packed_convolutions) == 2
    assert torch.equal(load(path)(X), deployed(X))
    assert [*tmp_path.iterdir()] == [path]


def test_dynamic_batch_takes_any_number_of_pictures(
    built: Engine, model: BinarizedModule, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    deployed = fxbin.export_program(model, path, dynamic_batch=True)
    loaded = load(path)
    for n in (1, 2, 7):
        x = torch.randn(n, 3, 8, 8)
        assert torch.equal(loaded(x), deployed(x))


class TwoInputs(nn.Module):
    """A picture, and a dict with a tensor by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor, *, extra: dict[str, Tensor], scale: float = 2.0) -> Tensor:
        y: Tensor = self.conv(x).mean((2, 3))
        return y * scale + extra["bias"]


def test_inputs_by_name_and_in_containers(built: Engine, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {"extra": {"bias": torch.randn(1, 8)}}
    config = {"compression": {"algorithm": "binarization"}, "input_info": {"sample_size": [1, 3, 8, 8]}}
    model = as_if_trained(fxbin.transform(TwoInputs(), config, (X,), example_kwargs=kwargs)).eval()
    path = tmp_path / "model.pt2"
    deployed = fxbin.export_program(model, path, (X,), example_kwargs=kwargs, dynamic_batch=True)
    more = (torch.randn(5, 3, 8, 8), {"bias": torch.randn(5, 8)})
    assert torch.equal(load(path)(more[0], extra=more[1]), deployed(more[0], extra=more[1]))
    with torch.no_grad():
        torch.testing.assert_close(deployed(more[0], extra=more[1]), model(more[0], extra=more[1]))


def test_calibration_makes_the_rest_int8(built: Engine, model: BinarizedModule, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    deployed = fxbin.export_program(model, path, calibration=[X, -X])
    assert deployed.int8_sites
    assert torch.equal(load(path)(X), deployed(X))


def test_failed_export_leaves_the_old_file(
    built: Engine, model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"old")

    def full_disk(*_args: Any, **_options: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch.export, "save", full_disk)
    with pytest.raises(ExportError, match=r"path: .* cannot be written: no space"):
        fxbin.export_program(model, path)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


class OneBatchSize(nn.Module):
    """Its weight is read as a vector of the batch size, which fixes that."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.per_sample = nn.Conv2d(3, 8, 3), nn.Parameter(torch.randn(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).mean((2, 3))
        return y * self.per_sample


def test_model_of_one_batch_size_is_an_error_that_says_so(built: Engine, tmp_path: Path) -> None:
    model = binarize(OneBatchSize(), torch.randn(2, 3, 8, 8))
    with pytest.raises(ExportError, match="With dynamic_batch=True no part of it may depend on the batch"):
        fxbin.export_program(model, tmp_path / "model.pt2", dynamic_batch=True)
    assert not [*tmp_path.iterdir()]
    fxbin.export_program(model, tmp_path / "model.pt2")


def test_wrong_arguments_are_errors_before_anything_is_done(model: BinarizedModule, tmp_path: Path) -> None:
    wrong: Any = "model.pt2"
    with pytest.raises(ExportError, match=r"the model comes first: export_program\(model, path\)"):
        fxbin.export_program(wrong, model)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"expected a name that ends in .pt2"):
        fxbin.export_program(model, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"dynamic_batch: expected True or False, got 8"):
        fxbin.export_program(model, tmp_path / "model.pt2", dynamic_batch=8)  # type: ignore[arg-type]
    with pytest.raises(TransformError, match="export_program"):
        fxbin.export_program(Small(), tmp_path / "model.pt2")
