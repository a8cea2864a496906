from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fxbin import load_config
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.train import subject
from fxbin.train.build import binarized_from, fit_to_data
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.data import ImageData
from fxbin.train.model_spec import build_model
from fxbin.train.run import Trained, train
from fxbin.train.teacher import own_teacher
from tests.train.small_run import PARAMS, InterruptedAt

# Dropout, so that random numbers drawn while training matter; batch norm, so that buffers do.
MODEL = """
from torch import nn

def make(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4),
        nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 1, 8, 8, generator=generator), torch.arange(50) % 3
    images = ImageData("mnist", x[:40], y[:40], x[40:], y[40:], classes=3)
    monkeypatch.setattr(subject, "open_data", lambda _config: images)
    (tmp_path / "net.py").write_text(MODEL)
    return {
        "model": f"{tmp_path / 'net.py'}:make",
        "epochs": 5,
        "batch_size": 16,
        "augmentation": {"shift": 1, "flip": True},
        "pretrain": {"epochs": 2},
        "compression": {"algorithm": "binarization", "params": PARAMS},
    }


def weights(trained: Trained) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


def test_a_run_goes_through_all_stages_and_keeps_its_history(config: dict[str, Any], tmp_path: Path) -> None:
    trained = train(config, tmp_path / "run")
    assert [(record.phase, record.epoch) for record in trained.history] == [
        *[("pretraining", epoch) for epoch in range(2)],
        *[("staged", epoch) for epoch in range(5)],
    ]
    assert [record.stage for record in trained.history[2:]] == [
        "full precision",
        "activations",
        "activations and weights",
        "learning rate falls",
        "learning rate falls",
    ]
    assert [record.lr for record in trained.history[2:5]] == [0.01] * 3
    assert trained.history[-1].lr < 0.01
    assert trained.history[-1].weight_decay == 0
    seen = [record.diagnostics for record in trained.history]
    assert seen[:2] == [None, None]
    assert [epoch and epoch["fired"] is not None for epoch in seen[2:]] == [False, True, True, True, True]
    assert all(0 <= site["flipped"] <= 1 for epoch in seen[2:] if epoch for site in epoch["sites"])
    assert all(switched == (True, True) for switched in trained.model.binarization.enabled.values())
    assert not trained.model.training
    assert trained.config.num_classes == 3
    assert [r.distillation_loss is None for r in trained.history] == [True] * 2 + [False] * 5
    for record in trained.history:
        assert record.label_loss is not None
        assert record.loss == pytest.approx(record.label_loss + (record.distillation_loss or 0))


@pytest.mark.parametrize("batch", [1, 4, 13], ids="in batch {}".format)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: dict[str, Any], tmp_path: Path, batch: int
) -> None:
    whole = train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", progress=InterruptedAt(batch))
    torch.manual_seed(batch)  # a new process would not have the old one's random state
    resumed = train(config, tmp_path / "parts")
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    assert [(r.loss, r.test_accuracy) for r in whole.history] == [
        (r.loss, r.test_accuracy) for r in resumed.history
    ]


def test_a_finished_run_is_not_trained_again(config: dict[str, Any], tmp_path: Path) -> None:
    first = train(config, tmp_path / "run")
    progress = InterruptedAt(None)
    second = train(config, tmp_path / "run", progress=progress)
    assert progress.seen == 0
    assert "after staged epoch 5 (--restart starts over)" in progress.notes[0]
    assert all(torch.equal(value, weights(first)[name]) for name, value in weights(second).items())


def test_restart_ignores_the_checkpoint_and_a_changed_config_needs_it(
    config: dict[str, Any], tmp_path: Path
) -> None:
    train(config, tmp_path / "run")
    changed = config | {"batch_size": 8}
    with pytest.raises(CheckpointError, match=r"batch_size: .* 16, the config now says 8"):
        train(changed, tmp_path / "run")
    progress = InterruptedAt(None)
    train(changed, tmp_path / "run", restart=True, progress=progress)
    assert progress.seen == 7 * 5


def test_more_epochs_go_on_where_the_run_stood(config: dict[str, Any], tmp_path: Path) -> None:
    train(config | {"epochs": 4}, tmp_path / "run")
    progress = InterruptedAt(None)
    longer = train(config, tmp_path / "run", progress=progress)
    assert progress.seen == 3
    expected = weights(train(config, tmp_path / "whole"))
    assert all(torch.equal(value, expected[name]) for name, value in weights(longer).items())


def test_the_model_comes_back_from_the_checkpoint_alone(config: dict[str, Any], tmp_path: Path) -> None:
    trained = train(config, tmp_path / "run")
    model = binarized_from(load_checkpoint(tmp_path / "run" / "checkpoint.pt"))
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(model(x), trained.model(x))
    assert model.binarization.enabled == trained.model.binarization.enabled


def test_a_checkpoint_of_the_first_phase_has_no_binarized_model(
    config: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=InterruptedAt(4))
    with pytest.raises(CheckpointError, match=r"full-precision phase \(epoch 1\).*`fxbin train` continue"):
        binarized_from(load_checkpoint(tmp_path / "run" / "checkpoint.pt"))


def test_without_pretraining_and_distillation_the_stages_run_alone(
    config: dict[str, Any], tmp_path: Path
) -> None:
    bare = config | {"pretrain": {"epochs": 0}, "distillation": {"enabled": False}, "epochs": 1}
    assert [record.phase for record in train(bare, tmp_path / "run").history] == ["staged"]


def test_a_teacher_of_ones_own_teaches_and_is_in_the_checkpoint(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "teacher.py").write_text(MODEL)
    path = tmp_path / "teacher.pt"
    torch.manual_seed(5)
    torch.save(build_model(f"{tmp_path / 'teacher.py'}:make", num_classes=3).state_dict(), path)
    teacher = {"model": f"{tmp_path / 'teacher.py'}:make", "state_dict": str(path)}
    taught = config | {"distillation": {"teacher": teacher}}
    whole = train(taught, tmp_path / "whole")
    usual = train(config, tmp_path / "usual")
    pretraining = [[r.loss for r in run.history if r.phase == "pretraining"] for run in (whole, usual)]
    assert pretraining[0] == pretraining[1]
    assert whole.history[-1].loss != usual.history[-1].loss

    with pytest.raises(KeyboardInterrupt):
        train(taught, tmp_path / "parts", progress=InterruptedAt(13))
    path.unlink()
    expected = weights(whole)
    resumed = train(taught, tmp_path / "parts")
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


def images(channels: int) -> ImageData:
    x, y = torch.zeros(2, channels, 8, 8), torch.zeros(2)
    return ImageData("mnist", x, y, x, y, classes=10)


def test_an_input_size_that_does_not_fit_the_pictures_is_refused(config: dict[str, Any]) -> None:
    wrong = load_config(config | {"input_info": {"sample_size": [1, 3, 8, 8]}})
    with pytest.raises(
        ConfigError, match=r"\[1, 3, 8, 8\] does not fit the pictures of 'mnist': expected \[1, 1"
    ):
        fit_to_data(wrong, images(1))


def test_too_few_classes_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="num_classes: 2 is too few for 'mnist', which has 10"):
        fit_to_data(load_config(config | {"num_classes": 2}), images(1))


def test_a_config_without_a_model_says_how_to_name_one(config: dict[str, Any], tmp_path: Path) -> None:
    del config["model"]
    with pytest.raises(ConfigError, match=r'model: the config has none.*"resnet_thin"'):
        train(config, tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device: 'cuda' is not available here"):
        train(config | {"device": "cuda"}, tmp_path / "run")


def test_batch_norm_is_computed_anew_before_each_evaluation_and_changes_no_weight(
    config: dict[str, Any], tmp_path: Path
) -> None:
    plain = train(config, tmp_path / "plain")
    config["compression"]["params"] = PARAMS | {"batch_norm_batches": 2}
    anew = train(config, tmp_path / "anew")
    before, after = plain.model.state_dict(), anew.model.state_dict()
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert [record.loss for record in plain.history] == [record.loss for record in anew.history]


@pytest.mark.parametrize("batch", [9, 13])
def test_an_average_is_kept_evaluated_and_resumed_and_changes_no_training(
    config: dict[str, Any], tmp_path: Path, batch: int
) -> None:
    averaging = config | {"ema": {"decay": 0.5, "batch_norm_batches": 2}}
    whole = train(averaging, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(averaging, tmp_path / "parts", progress=InterruptedAt(batch))
    resumed = train(averaging, tmp_path / "parts")
    assert whole.average is not None
    assert resumed.average is not None
    expected = whole.average.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.average.state_dict().items())
    accuracies = [record.average_accuracy for record in whole.history]
    assert accuracies[:2] == [None, None]
    assert None not in accuracies[2:]
    assert accuracies == [record.average_accuracy for record in resumed.history]
    plain = train(config, tmp_path / "plain")
    assert [record.loss for record in plain.history] == [record.loss for record in whole.history]
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(whole).items())

    x = torch.randn(3, 1, 8, 8)
    kept = load_checkpoint(tmp_path / "parts" / "checkpoint.pt")
    assert torch.equal(binarized_from(kept, average=True)(x), whole.average(x))
    assert not torch.equal(whole.average(x), whole.model(x))
    with pytest.raises(CheckpointError, match=r"--ema: the checkpoint holds no average .* its config has no"):
        binarized_from(load_checkpoint(tmp_path / "plain" / "checkpoint.pt"), average=True)


def test_a_checkpoint_without_an_average_has_the_entries_it_always_had(
    config: dict[str, Any], tmp_path: Path
) -> None:
    train(config | {"epochs": 1}, tmp_path / "run")
    content = torch.load(tmp_path / "run" / "checkpoint.pt")
    assert "average" not in content


def with_teacher(config: dict[str, Any], **teacher: Any) -> dict[str, Any]:
    return config | {"distillation": {"teacher": teacher}}


@pytest.mark.parametrize("network", ["full_precision", "binarized"])
def test_a_network_of_another_run_teaches_and_is_not_read_again(
    config: dict[str, Any], tmp_path: Path, network: str
) -> None:
    first = train(config, tmp_path / "first")
    file = tmp_path / "first" / "checkpoint.pt"
    taught = with_teacher(config | {"seed": 1}, checkpoint=str(file), network=network)
    found = own_teacher(
        first.config.model_copy(update={"distillation": load_config(taught).distillation}), first.data, None
    )
    assert found is not None
    x = torch.randn(3, 1, 8, 8)
    kept = load_checkpoint(file)
    expected = binarized_from(kept) if network == "binarized" else build_model(config["model"], num_classes=3)
    if network == "full_precision":
        expected.load_state_dict(kept.teacher or {})
    assert torch.equal(found.network(x), expected.eval()(x))

    whole = train(taught, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(taught, tmp_path / "parts", progress=InterruptedAt(13))
    file.unlink()
    resumed = weights(train(taught, tmp_path / "parts"))
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole).items())


def test_a_run_that_does_not_keep_the_network_is_no_teacher(config: dict[str, Any], tmp_path: Path) -> None:
    train(with_teacher(config | {"epochs": 1}, previous_stage=True), tmp_path / "first")
    file = str(tmp_path / "first" / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"teacher\.checkpoint: .* learned from a teacher of its own, and"):
        train(with_teacher(config, checkpoint=file), tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "second", progress=InterruptedAt(4))
    file = str(tmp_path / "second" / "checkpoint.pt")
    with pytest.raises(
        ConfigError, match=r"teacher\.checkpoint: .* has not reached its stages, so it has no"
    ):
        train(with_teacher(config, checkpoint=file, network="binarized"), tmp_path / "run")


@pytest.mark.parametrize("batch", [7, 11, 13, 18])
def test_the_previous_stage_teaches_also_in_a_run_that_was_interrupted(
    config: dict[str, Any], tmp_path: Path, batch: int
) -> None:
    taught = with_teacher(config, previous_stage=True)
    whole = train(taught, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(taught, tmp_path / "parts", progress=InterruptedAt(batch))
    torch.manual_seed(batch)
    resumed = weights(train(taught, tmp_path / "parts"))
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole).items())
    usual = train(config, tmp_path / "usual")
    # The full-precision network of the first stage teaches the second one, instead of the one before it.
    same = [a.loss == b.loss for a, b in zip(whole.history, usual.history, strict=True)]
    assert same == [True] * 3 + [False] * 4


def test_features_are_learned_resumed_and_checked_before_any_training(
    config: dict[str, Any], tmp_path: Path
) -> None:
    learned = config | {"distillation": {"features": ["3", "4"], "feature_weight": 0.5}}
    whole = train(learned, tmp_path / "whole")
    for record in whole.history[2:]:
        assert record.label_loss is not None
        assert record.distillation_loss is not None
        assert record.feature_loss is not None
        parts = record.label_loss + record.distillation_loss + 0.5 * record.feature_loss
        assert record.loss == pytest.approx(parts)
    with pytest.raises(KeyboardInterrupt):
        train(learned, tmp_path / "parts", progress=InterruptedAt(13))
    resumed = weights(train(learned, tmp_path / "parts"))
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole).items())
    usual = train(config, tmp_path / "usual")
    assert [r.loss for r in usual.history[:2]] == [r.loss for r in whole.history[:2]]

    progress = InterruptedAt(0)
    for names, message in (
        (["12"], " of the teacher: '12' is no"),
        (["9"], r": the output of '9' is \(2, 3\)"),
    ):
        with pytest.raises(ConfigError, match=f"distillation.features{message}"):
            train(config | {"distillation": {"features": names}}, tmp_path / "no", progress=progress)
    assert progress.seen == 0


def test_excluded_parameters_have_no_decay_and_are_checked_before_any_training(
    config: dict[str, Any], tmp_path: Path
) -> None:
    params = PARAMS | {"base_wd": 0.5, "wd_exclude": ["norms", "biases", "{re}^3\\."]}
    excluded = config | {"compression": {"algorithm": "binarization", "params": params}}
    train(excluded | {"epochs": 1}, tmp_path / "run")
    groups = load_checkpoint(tmp_path / "run" / "checkpoint.pt").optimizer["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    # The weights of the first convolution and of the last layer, and the scale and threshold of the first.
    assert len(groups[0]["params"]) == 4

    progress = InterruptedAt(0)
    params["wd_exclude"] = "{re}gama"
    with pytest.raises(ConfigError, match=r"params.wd_exclude: '\{re\}gama' matches the name of no"):
        train(excluded, tmp_path / "no", progress=progress)
    assert progress.seen == 0


def test_a_rewritten_network_says_which_modules_have_features_before_any_training(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["compression"]["rewrites"] = ["shortcuts"]
    progress = InterruptedAt(0)
    with pytest.raises(TransformError, match="no graph fits this call") as caught:
        train(config | {"distillation": {"features": "3"}}, tmp_path / "no", progress=progress)
    assert "name modules that its graph calls" in "".join(caught.value.__notes__)
    own = {"teacher": {"previous_stage": True}, "features": ["4"]}
    trained = train(config | {"distillation": own, "epochs": 1}, tmp_path / "run")
    assert trained.history[-1].feature_loss is not None


@pytest.mark.parametrize("network", ["full_precision", "binarized"])
def test_a_rewritten_network_of_another_run_teaches_with_features_of_its_graph(
    config: dict[str, Any], tmp_path: Path, network: str
) -> None:
    config["compression"]["rewrites"] = ["shortcuts", "rprelu"]
    config["epochs"] = 1
    first = train(config | {"distillation": {"features": ["3.rprelu"]}}, tmp_path / "first")
    assert first.history[-1].feature_loss is not None
    file = str(tmp_path / "first" / "checkpoint.pt")
    own = {"teacher": {"checkpoint": file, "network": network}, "features": ["3.rprelu"]}
    trained = train(config | {"distillation": own, "seed": 1}, tmp_path / "second")
    assert trained.history[-1].feature_loss is not None
