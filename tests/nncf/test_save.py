"""Checkpoints that are written for NNCF 2.9."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import CheckpointError
from fxbin.nncf import load_nncf_checkpoint, save_nncf_checkpoint
from fxbin.nncf.read import read_file
from tests.nncf.checkpoints import MODES, new_model, real_file, recorded


@pytest.mark.parametrize("mode", MODES)
def test_saved_file_has_nncfs_keys_shapes_dtypes_and_order(mode: str, tmp_path: Path) -> None:
    golden, real = recorded(mode), read_file(real_file(mode))
    model = new_model(golden)
    load_nncf_checkpoint(model, real_file(mode))
    save_nncf_checkpoint(model, tmp_path / "saved.pth", step=17)
    saved = read_file(tmp_path / "saved.pth")
    assert type(saved["state_dict"]) is type(real["state_dict"])
    assert list(saved["state_dict"]) == list(golden["state_dict"])
    for key, value in golden["state_dict"].items():
        assert saved["state_dict"][key].dtype == value.dtype
        assert torch.equal(saved["state_dict"][key], value)
    assert saved["compression_state"] == real["compression_state"]
    assert saved["epoch"] == real["epoch"]


def test_saved_file_names_nncfs_enum_as_nncf_does(tmp_path: Path) -> None:
    save_nncf_checkpoint(new_model(recorded()), tmp_path / "saved.pth")
    for path in (real_file(), tmp_path / "saved.pth"):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            assert b"cnncf.api.compression\nCompressionStage\n" in archive.read(name)


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(self.conv(x), self.conv.weight, groups=2)


def grouped(**section: Any) -> BinarizedModule:
    config = {
        "input_info": {"sample_size": [1, 4, 8, 8]},
        "compression": {"algorithm": "binarization", "call_sites": "modules", **section},
    }
    return fxbin.transform(Grouped(), config)


def test_thresholds_of_grouped_convs_repeat(tmp_path: Path) -> None:
    model = grouped()
    threshold = model.get_parameter("conv.activation_binarizer.threshold")
    threshold.data = torch.tensor([1.0, 2.0, 1.0, 2.0]).reshape(1, 4, 1, 1)
    save_nncf_checkpoint(model, tmp_path / "grouped.pth")
    assert read_file(tmp_path / "grouped.pth")["state_dict"]["conv.pre_ops.1.op.threshold"].shape == (
        1,
        2,
        1,
        1,
    )
    again = grouped()
    load_nncf_checkpoint(again, tmp_path / "grouped.pth")
    assert torch.equal(again.get_parameter("conv.activation_binarizer.threshold"), threshold)


def test_what_nncf_cannot_hold_is_listed_and_no_file_is_written(tmp_path: Path) -> None:
    model = grouped(call_sites="all", params={"weight_scale_axis": "input"})
    model.get_parameter("conv.activation_binarizer.threshold").data[0, 0] = 1
    first, *_ = model.binarization.sites
    model.binarization.enable(activations=True, sites=[first])
    with pytest.raises(CheckpointError) as caught:
        save_nncf_checkpoint(model, tmp_path / "no.pth")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "conv.activation_binarizer.threshold",
        "Grouped/conv2d_0",
        "params.weight_scale_axis 'input'",
        "the enabled binarizers do not match any stage of the config",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("levels", ["sign", "free"])
def test_levels_that_nncf_does_not_have_are_an_error(levels: str, tmp_path: Path) -> None:
    model = grouped(activations={"levels": levels, "estimator": "approx_sign"})
    with pytest.raises(CheckpointError) as caught:
        save_nncf_checkpoint(model, tmp_path / "no.pth")
    assert str(caught.value).splitlines()[1:] == [
        f"  compression.activations: NNCF has no {levels}, approx_sign"
    ]
    assert list(tmp_path.iterdir()) == []


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.pth"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_nncf_checkpoint(new_model(recorded()), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("enabled", "epoch"), [((False, False), -1), ((True, False), 1), ((True, True), 2), ((False, True), None)]
)
def test_epoch_is_the_first_of_the_stage(
    enabled: tuple[bool, bool], epoch: int | None, tmp_path: Path
) -> None:
    model = new_model(recorded())
    model.binarization.enable(*enabled)
    if epoch is None:
        with pytest.raises(CheckpointError, match="do not match any stage of the config: pass `epoch`"):
            save_nncf_checkpoint(model, tmp_path / "x.pth")
        save_nncf_checkpoint(model, tmp_path / "x.pth", epoch=4, extra={"arch": "tiny"})
        assert read_file(tmp_path / "x.pth")["arch"] == "tiny"
    else:
        save_nncf_checkpoint(model, tmp_path / "x.pth")
    content = read_file(tmp_path / "x.pth")
    state = content["compression_state"]["ctrl_state"]["binarization"]["scheduler_state"]
    assert (state["current_epoch"], content["epoch"]) == ((4, 5) if epoch is None else (epoch, epoch + 1))
