"""Checkpoints that do not fit the model: one error lists everything, and nothing is changed."""

from pathlib import Path

import pytest
import torch

import fxbin
from fxbin.errors import CheckpointError, TransformError
from fxbin.nncf import load_nncf_checkpoint, save_nncf_checkpoint
from tests.nncf.checkpoints import error_in, new_model, real_file, recorded
from tests.tiny_resnet import TinyResNet
from tests.transforming import config


def test_all_keys_that_do_not_fit_are_listed_and_nothing_is_changed() -> None:
    golden = recorded()
    state = dict(golden["state_dict"])
    del state["bn1.weight"], state["layer1.0.conv1.pre_ops.1.op.scale"]
    state["extra.weight"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(7, 20)
    state["conv1.nncf_padding_value"] = torch.ones(1)
    text = error_in(new_model(golden), state)
    assert text.splitlines() == [
        "checkpoint does not fit TinyResNet:",
        "  conv1.nncf_padding_value: is [1.0], but fxbin pads with 0 only",
        "  fc.weight: is (7, 20), expected (10, 20)",
        "  missing: bn1.weight",
        "  missing: layer1.0.conv1.pre_ops.1.op.scale",
        "  unexpected: extra.weight",
        "  Binarized here and not in the file: layer1.0.conv1. Put them in ignored_scopes.",
    ]


def test_what_is_not_strict_loads_the_rest_and_reports() -> None:
    golden = recorded()
    state = dict(golden["state_dict"])
    del state["bn1.weight"]
    state["extra.weight"] = torch.zeros(1)
    report = load_nncf_checkpoint(new_model(golden), state, strict=False)
    assert (report.missing, report.unexpected) == (("bn1.weight",), ("extra.weight",))
    assert report.mismatched == ()


def test_what_is_not_strict_leaves_out_a_head_of_another_size() -> None:
    golden = recorded()
    head = {"module.fc.weight": torch.zeros(7, 20), "module.fc.bias": torch.zeros(7)}
    state = {f"module.{key}": value for key, value in golden["state_dict"].items()} | head
    model, full = new_model(golden), new_model(golden)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = load_nncf_checkpoint(model, state, strict=False)
    assert report.mismatched == ("module.fc.weight", "module.fc.bias")
    load_nncf_checkpoint(full, golden["state_dict"])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith("fc.") else full.state_dict()[key])


def test_optimizer_of_parameters_of_other_shapes_is_left_out() -> None:
    golden = recorded()
    golden["state_dict"]["fc.weight"] = torch.zeros(7, 20)
    report = load_nncf_checkpoint(new_model(golden), golden, strict=False)
    assert "optimizer" in golden
    assert report.optimizer is None
    assert report.notes == ("the optimizer's state is left out: it belongs to parameters with other shapes",)


def test_padding_that_would_compute_something_else_is_refused_even_if_not_strict() -> None:
    golden = recorded()
    golden["state_dict"]["conv1.nncf_padding_value"] = torch.ones(1)
    text = error_in(new_model(golden), golden["state_dict"], strict=False)
    assert "conv1.nncf_padding_value: is [1.0]" in text


def test_another_selection_is_explained() -> None:
    golden = recorded()
    section = {**golden["config"]["compression"], "ignored_scopes": [r"{re}layer1.*\[conv2\]"]}
    model = fxbin.transform(TinyResNet(), {**golden["config"], "compression": section})
    text = error_in(model, golden["state_dict"])
    assert "Binarized here and not in the file: conv1, layer2.0.downsample.0." in text
    assert r'Binarized in the file and not here: layer1.0.conv2 (in ignored_scopes: "{re}layer1' in text


def test_full_precision_checkpoint_is_told_from_a_binarized_one() -> None:
    golden = recorded()
    text = error_in(new_model(golden), golden["initial_state_dict"])
    assert "The file has no binarizers: load a full-precision model before `transform`." in text


def test_only_a_transformed_model_is_loaded_or_saved(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="load_nncf_checkpoint"):
        load_nncf_checkpoint(TinyResNet(), real_file())
    with pytest.raises(TransformError, match="save_nncf_checkpoint"):
        save_nncf_checkpoint(TinyResNet(), tmp_path / "x.pth")


def test_state_of_another_algorithm_is_refused_by_name() -> None:
    golden = recorded()
    golden["compression_state"] = {"ctrl_state": {"quantization": {}}}
    assert "expected an object with \"binarization\", got ['quantization']" in error_in(
        new_model(golden), golden
    )


@pytest.mark.parametrize("source", [None, 3, [1]])
def test_a_source_that_cannot_be_read_is_refused(source: object) -> None:
    model = fxbin.transform(torch.nn.Conv2d(3, 3, 3), config(1, 3, 8, 8))
    with pytest.raises(CheckpointError, match=r"source: expected the path of a checkpoint .*, got \w+$"):
        load_nncf_checkpoint(model, source)  # type: ignore[arg-type]
