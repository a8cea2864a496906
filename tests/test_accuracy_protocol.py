"""Which settings tests/benchmarks/accuracy.py may change, and which it may not."""

from pathlib import Path

import torch

from tests.benchmarks.accuracy import config_for, split

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
