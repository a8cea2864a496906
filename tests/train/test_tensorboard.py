import sys
from pathlib import Path

import pytest

from fxbin.config import load_config
from fxbin.errors import ConfigError
from fxbin.train.history import EpochRecord
from fxbin.train.loggers.choose import check_loggers
from fxbin.train.loggers.tensorboard import TensorBoardLog

SITE = {
    "name": "Net/NNCFConv2d[conv]/conv2d_0",
    "fired": 0.25,
    "flipped": 0.1,
    "scale": 2.0,
    "threshold": 1.0,
}
GRADIENTS = {"weight_gradient": 0.5, "scale_gradient": None, "threshold_gradient": None}


def record(loss: float) -> EpochRecord:
    seen = {"sites": [SITE | GRADIENTS]}
    return EpochRecord(
        "staged", 0, "activations", 1e-3, 1e-5, loss, 80.0, 70.5, 1.0, seen, label_loss=loss / 2
    )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_figures_of_epochs_and_call_sites_are_written_and_a_resumed_run_replaces_its_own(
    tmp_path: Path,
) -> None:
    log = TensorBoardLog(tmp_path, 0)
    for epoch in (1, 2, 3):
        log.add(record(epoch / 4), epoch)
    log.close()
    resumed = TensorBoardLog(tmp_path, 2)
    resumed.add(record(0.125), 3)
    resumed.close()
    found = scalars(tmp_path)
    assert found["loss"] == [(1, 0.25), (2, 0.5), (3, 0.125)]
    assert found["label_loss"] == [(1, 0.125), (2, 0.25), (3, 0.0625)]
    assert "distillation_loss" not in found
    assert found["fired/Net.NNCFConv2d[conv].conv2d_0"] == [(1, 0.25), (2, 0.25), (3, 0.25)]
    assert not [tag for tag in found if tag.startswith("scale_gradient")]


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"tensorboard: .* `pip install 'fxbin\[tensorboard\]'`"):
        check_loggers(load_config({"compression": {"algorithm": "binarization"}, "tensorboard": True}))
