"""Real NNCF 2.9 checkpoints are loaded without NNCF: their outputs, stages and optimizers."""

import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from fxbin.binarized.state import Stage
from fxbin.nncf import load_nncf_checkpoint, save_nncf_checkpoint
from fxbin.staged.schedule import StagedSchedule
from tests.nncf.checkpoints import MODES, new_model, real_file, recorded


@pytest.mark.parametrize("mode", MODES)
def test_real_checkpoint_gives_the_recorded_outputs_also_after_save_and_load(
    mode: str, tmp_path: Path
) -> None:
    golden = recorded(mode)
    model = new_model(golden)
    report = load_nncf_checkpoint(model, real_file(mode))
    assert "nncf" not in sys.modules
    assert (model(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6
    assert (report.stage, report.epoch, report.next_epoch, report.step) == (Stage.BINARIZED, 2, 3, 17)
    assert report.loaded == len(golden["state_dict"]) - 10  # all but nncf_padding_value
    assert report.missing == report.unexpected == report.notes == ()

    save_nncf_checkpoint(model, tmp_path / "again.pth", step=17)
    again = new_model(golden)
    assert load_nncf_checkpoint(again, tmp_path / "again.pth").next_epoch == 3
    assert (again(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_every_stage_is_restored(epoch: int) -> None:
    golden = recorded()
    snapshot = golden["snapshots"][epoch]
    model = new_model(golden)
    report = load_nncf_checkpoint(model, snapshot["state_dict"])
    assert report.stage == [Stage.FULL_PRECISION, Stage.ACTIVATIONS, Stage.BINARIZED][epoch]
    assert report.epoch is None
    assert (model(golden["input"]) - snapshot["eval_output"]).abs().max() < 1e-6


def test_training_goes_on_where_nncf_stopped() -> None:
    golden = recorded()
    model = new_model(golden, lr_poly_drop_duration_epochs=5)
    report = load_nncf_checkpoint(model, real_file())
    optimizer = torch.optim.Adam(model.parameters())
    assert report.optimizer is not None
    optimizer.load_state_dict(report.optimizer)
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].shape == parameter.shape
    schedule = StagedSchedule(model, optimizer)
    assert report.next_epoch is not None
    schedule.start_epoch(report.next_epoch)
    assert schedule.get_last_lr() == pytest.approx([1e-3 * (4 / 5) ** 2.1])
    model.train()
    model(golden["input"]).sum().backward()
    scale = model.get_parameter("layer1.0.conv1.activation_binarizer.scale")
    before = scale.clone()
    optimizer.step()
    assert not torch.equal(scale, before)


def test_source_may_be_what_torch_load_gave() -> None:
    golden = recorded()
    model = new_model(golden)
    report = load_nncf_checkpoint(model, golden)
    assert (report.stage, report.next_epoch) == (Stage.BINARIZED, 3)


def test_compression_state_alone_switches_binarizers_by_its_epoch(tmp_path: Path) -> None:
    golden = recorded()
    state = golden["compression_state"]
    torch.save(state, tmp_path / "state.pth")
    for epoch, stage in ((-1, Stage.FULL_PRECISION), (1, Stage.ACTIVATIONS), (7, Stage.BINARIZED)):
        state["ctrl_state"]["binarization"]["scheduler_state"]["current_epoch"] = epoch
        torch.save(state, tmp_path / "state.pth")
        model = new_model(golden)
        report = load_nncf_checkpoint(model, tmp_path / "state.pth")
        assert (report.stage, report.next_epoch, report.loaded) == (stage, epoch + 1, 0)


def test_optimizer_that_the_sample_pickles_whole_is_dropped(tmp_path: Path) -> None:
    golden = recorded()
    model = new_model(golden)
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.state = defaultdict(dict, {next(model.parameters()): {"step": torch.ones(())}})
    content = {**golden, "optimizer_scheduler": {"optimizer": optimizer, "base_lr": 1e-3}, "best_acc1": 61.5}
    torch.save(content, tmp_path / "sample.pth")
    report = load_nncf_checkpoint(model, tmp_path / "sample.pth")
    assert report.rest["best_acc1"] == 61.5
    assert not isinstance(report.rest["optimizer_scheduler"]["optimizer"], torch.optim.Optimizer)
