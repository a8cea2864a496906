"""Which settings tests/benchmarks/accuracy.py may change, and which it may not."""

import json
from pathlib import Path

import torch

from fxbin.config import load_config
from fxbin.config.preset import preset_names
from tests.benchmarks import accuracy_runs
from tests.benchmarks.accuracy import PROTOCOL, config_for, split

RECOMMENDED = str(Path(__file__).parents[1] / "configs/recommended.json5")


def test_nncf_settings_are_nncf_defaults_where_they_say_nothing() -> None:
    params = config_for("nncf", [], seed=0, threads=1).binarization.params
    assert params.activation_scale_init == "quantile"
    assert params.binarizer_lr_multiplier == 1
    assert params.batch_norm_batches == 0


def test_a_config_decides_on_compression_and_distillation_only() -> None:
    ours = config_for(RECOMMENDED, [], seed=3, threads=1)
    nncf = config_for("nncf", [], seed=3, threads=1)
    assert ours.binarization.params != nncf.binarization.params
    differs = {
        key
        for key in type(ours).model_fields
        if key != "schema_file" and getattr(ours, key) != getattr(nncf, key)
    }
    assert differs <= {"compression", "distillation"}


def test_a_key_is_changed_by_its_path() -> None:
    changes = ["compression.params.base_lr=5e-3", "distillation.weight=0"]
    config = config_for(RECOMMENDED, changes, seed=0, threads=1)
    assert config.binarization.params.base_lr == 5e-3
    assert config.distillation.weight == 0


def test_validation_images_are_other_training_images_and_as_balanced() -> None:
    labels = torch.arange(60_000) % 10
    training, held_out = split(labels)
    assert not set(training.tolist()) & set(held_out.tolist())
    assert labels[training].bincount().tolist() == [600] * 10
    assert labels[held_out].bincount().tolist() == [1000] * 10


def test_full_precision_is_trained_for_as_many_epochs() -> None:
    config = config_for("full_precision", [], seed=0, threads=1)
    assert config.pretrain.epochs == PROTOCOL["pretrain"]["epochs"] + PROTOCOL["epochs"] == 26


def test_runs_that_are_kept_are_those_of_the_presets_as_they_are() -> None:
    for run in accuracy_runs.read():
        if run["config"] not in preset_names():
            continue
        ran = load_config(PROTOCOL | run["settings"])
        config = config_for(run["config"], run["changes"], seed=0, threads=1)
        assert (ran.compression, ran.distillation) == (config.compression, config.distillation), run["config"]


def test_a_run_replaces_that_of_the_same_seed(tmp_path: Path) -> None:
    result, kept = tmp_path / "result.json", tmp_path / "kept.jsonl"
    for seed, score in ((1, 80.0), (0, 81.0), (1, 82.0)):
        result.write_text(
            json.dumps(
                {
                    "config": "irnet",
                    "changes": [],
                    "teacher": None,
                    "protocol": "small",
                    "seed": seed,
                    "test": {"full_precision": 87.0, "binarized": score},
                    "parameters": 7,
                    "torch": "2.13.0",
                    "settings": {"compression": {}},
                }
            )
        )
        accuracy_runs.add([result], kept)
    found = [(run["seed"], run["binarized"]) for run in accuracy_runs.read(kept)]
    assert found == [(0, 81.0), (1, 82.0)]
    assert accuracy_runs.accuracies("small", "irnet", "binarized", kept) == [81.0, 82.0]
    assert accuracy_runs.accuracies("large", "irnet", "binarized", kept) == []
