"""The config: defaults, accepted values, and the message for each kind of mistake."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from fxbin.binarizers import registry
from fxbin.binarizers.weight import DoReFaWeightBinarizer
from fxbin.config import Config, check_config, config_json_schema_text, load_config
from fxbin.config.problems import SECTIONS, keys_of
from fxbin.config.unused import UnusedKeys
from fxbin.errors import ConfigError

ROOT = Path(__file__).parents[2]
BINARIZATION: dict[str, Any] = {"algorithm": "binarization"}


def with_params(**params: Any) -> dict[str, Any]:
    return {"compression": {**BINARIZATION, "params": params}}


def message(config: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(config)  # type: ignore[arg-type]  # wrong on purpose
    return str(caught.value)


def test_defaults_are_those_of_nncf() -> None:
    config = load_config({"compression": BINARIZATION})
    params = config.binarization.params
    assert config.binarization.mode == "xnor"
    assert config.binarization.validate_scopes is True
    assert config.binarization.call_sites == "all"
    assert config.binarization.ignored_scopes is None
    assert config.binarization.target_scopes is None
    assert config.lr_multiplier is None
    assert (config.target_device, config.log_dir, config.input_info) == ("ANY", ".", ())
    assert params.batch_multiplier == 1
    assert params.activations_quant_start_epoch == params.weights_quant_start_epoch == 1
    assert params.lr_poly_drop_start_epoch is None
    assert params.lr_poly_drop_duration_epochs == 30
    assert params.disable_wd_start_epoch is None
    assert (params.base_lr, params.base_wd) == (1e-3, 1e-5)
    assert (params.weight_scale_axis, params.activation_scale_init) == ("output", "quantile")


def test_compression_is_an_object_or_a_list_with_one() -> None:
    assert load_config({"compression": BINARIZATION}) == load_config({"compression": [BINARIZATION]})


def test_input_info_is_an_object_or_a_list() -> None:
    one = {"sample_size": [1, 3, 8, 8], "type": "long", "filler": "random", "keyword": "x"}
    config = load_config({"compression": BINARIZATION, "input_info": one})
    assert config == load_config({"compression": BINARIZATION, "input_info": [one]})
    (info,) = config.input_info
    assert (info.sample_size, info.type, info.filler, info.keyword) == ((1, 3, 8, 8), "long", "random", "x")


def test_one_scope_needs_no_list() -> None:
    config = load_config({"compression": {**BINARIZATION, "ignored_scopes": "{re}a"}, "target_scopes": "b"})
    assert config.binarization.ignored_scopes == ("{re}a",)
    assert config.target_scopes == ("b",)


def test_empty_target_scopes_are_not_absent_ones() -> None:
    config = load_config({"compression": {**BINARIZATION, "target_scopes": []}})
    assert config.binarization.target_scopes == ()


def test_lr_multiplier_of_the_algorithm_goes_before_the_top_level_one() -> None:
    both: dict[str, Any] = {
        "compression": {**BINARIZATION, "compression_lr_multiplier": 0},
        "compression_lr_multiplier": 2,
    }
    assert load_config(both).lr_multiplier == 0
    assert load_config({**both, "compression": BINARIZATION}).lr_multiplier == 2


def test_numbers_may_be_written_with_or_without_a_point() -> None:
    config = load_config(
        {**with_params(activations_quant_start_epoch=0.5, batch_multiplier=4.0), "epochs": 3.0}
    )
    assert config.binarization.params.activations_quant_start_epoch == 0.5
    assert config.binarization.params.batch_multiplier == 4
    assert config.epochs == 3


def test_keys_of_nncf_and_its_samples_without_effect_are_noted() -> None:
    config = load_config(
        {
            "compression": {**BINARIZATION, "initializer": {"range": {"num_init_samples": 10}}},
            "no_strip_on_export": True,
            "optimizer": {"type": "Adam"},
        }
    )
    assert [note.split(":")[0] for note in config.notes] == [
        "no_strip_on_export",
        "optimizer",
        "compression.initializer",
    ]
    assert load_config({"compression": BINARIZATION}).notes == ()


def test_a_config_cannot_be_changed() -> None:
    config = load_config({"compression": BINARIZATION})
    with pytest.raises(ConfigError, match=r"^Params: cannot set base_lr = 1, as"):
        config.binarization.params.base_lr = 1  # type: ignore[misc]  # wrong on purpose


def test_the_dict_that_was_read_can_be_changed_later_without_effect() -> None:
    data: dict[str, Any] = {"compression": {**BINARIZATION, "ignored_scopes": ["a"]}}
    config = load_config(data)
    data["compression"]["ignored_scopes"].append("b")
    assert config.binarization.ignored_scopes == ("a",)


def test_to_dict_reads_back_equal() -> None:
    config = load_config(
        {
            "$schema": "schema.json",
            "compression": {**BINARIZATION, "mode": "dorefa", "ignored_scopes": "a"},
            "input_info": {"sample_size": [1, 3, 8, 8]},
            "model_params": {"norm": None},
            "batch_size_val": 4,
        }
    )
    again = load_config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.notes == config.notes


@pytest.fixture
def registered_mode() -> Iterator[str]:
    registry.register_weight_binarizer("mine")(lambda _shape, _params: DoReFaWeightBinarizer())
    yield "mine"
    del registry._weight_factories["mine"]


def test_a_registered_mode_is_known(registered_mode: str) -> None:
    config = load_config({"compression": {**BINARIZATION, "mode": registered_mode}})
    assert config.binarization.mode == registered_mode


ERRORS: list[tuple[object, str]] = [
    (
        {"compression": BINARIZATION, "seed": 10**23},
        f"seed: got {10**23}, expected a whole number of at most 1e+18.",
    ),
    # The rows of NNCF's own errors, whose messages quote the whole config or come late.
    (
        {"compression": {**BINARIZATION, "mode": "bnn"}},
        'compression.mode: got "bnn", expected one of dorefa, xnor. Add a mode of your own with',
    ),
    (
        {"compression": [{**BINARIZATION, "mode": "xnr"}]},
        'compression[0].mode: got "xnr", expected one of dorefa, xnor. Did you mean "xnor"? ',
    ),
    (
        {"compression": {**BINARIZATION, "moed": "xnor"}},
        'compression.moed: unknown key (value "xnor"). Did you mean "mode"?',
    ),
    (
        with_params(base_lrr=0.1),
        'compression.params.base_lrr: unknown key (value 0.1). Did you mean "base_lr"?',
    ),
    (
        with_params(qqq=1),
        "compression.params.qqq: unknown key (value 1). Known here: batch_multiplier, activations_quant_",
    ),
    (
        with_params(base_lr="0.1"),
        'compression.params.base_lr: got "0.1", expected a number. Write it without quotes.',
    ),
    ({"compression": {}}, 'compression.algorithm: is missing: add "algorithm": "binarization".'),
    (
        {"compression": [BINARIZATION, {"algorithm": "quantization", "bits": 8}]},
        'compression[1].algorithm: got "quantization", expected "binarization". fxbin has no other',
    ),
    (
        {"compression": {"algorithm": "filter_pruning"}},
        'got "filter_pruning", expected "binarization". fxbin has no other algorithm: remove this one.',
    ),
    (
        {"compression": [BINARIZATION, {"algorithm": "knowledge_distillation", "type": "softmax"}]},
        'remove this one and use the top-level key "distillation", with its `scale` as "weight".',
    ),
    (
        {"compression": BINARIZATION, "distillation": {"type": "mse", "temperature": 2}},
        'distillation.temperature: got 2, expected none beside "type": "mse". The squared error of',
    ),
    (
        {"compression": BINARIZATION, "distillation": {"type": "mean_squared"}},
        'distillation.type: got "mean_squared", expected one of "softmax", "mse"',
    ),
    (
        {"compression": BINARIZATION, "distillation": {"weight": 0, "label_weight": 0}},
        'distillation.label_weight: got 0, expected a number above 0 beside "weight": 0. Nothing would be',
    ),
    (
        {"compression": BINARIZATION, "label_smoothing": 0.1, "distillation": {"label_weight": 0}},
        'label_smoothing: got 0.1, expected 0 beside "distillation": {"label_weight": 0}. The loss on',
    ),
    (
        {"compression": BINARIZATION, "label_smoothing": 1},
        "label_smoothing: got 1, expected a number below",
    ),
    (
        {"compression": BINARIZATION, "distillation": {"features": ["a", "b"], "teacher_features": "c"}},
        'distillation.teacher_features: got "c", expected as many names as in "features". There are 2 of',
    ),
    (
        {"compression": BINARIZATION, "distillation": {"features": ["a", "a"]}},
        'distillation.features: got ["a", "a"], expected each module once. Remove the second one.',
    ),
    (
        {"compression": BINARIZATION, "distillation": {"feature_weight": 2}},
        'distillation.feature_weight: got 2, expected none without "features". Remove it, or name modules.',
    ),
    ({"compression": BINARIZATION, "ema": {"decay": 1}}, "ema.decay: got 1, expected a number below 1."),
    ({"compression": BINARIZATION, "ema": {"deacy": 0.9}}, 'Did you mean "decay"?'),
    ({"compression": {"algorithm": "binarisation"}}, 'expected "binarization". Did you mean "binarization"?'),
    (
        {"compression": "binarization"},
        'compression: got "binarization", expected an object. Write {"algorithm": "binarization", "mode"',
    ),
    (
        {"compression": BINARIZATION, "target_device": "TPU"},
        'target_device: got "TPU", expected one of "ANY", "CPU",',
    ),
    ({"compression": BINARIZATION, "target_device": "cpu"}, 'Did you mean "CPU"?'),
    ({"compression": BINARIZATION, "target_device": "VPU"}, 'use "NPU", or leave the key out.'),
    (
        {"compression": BINARIZATION, "input_info": {"sample_size": [1, 3], "bad": 1}},
        "input_info.bad: unknown key (value 1). Known here: sample_size, type, filler, keyword.",
    ),
    (
        {"compression": BINARIZATION, "input_info": [{"sample_size": "1x3"}]},
        'input_info[0].sample_size: got "1x3", expected a list.',
    ),
    ({"compression": BINARIZATION, "input_info": {}}, "input_info.sample_size: is missing: add the shape"),
    (
        {"compression": BINARIZATION, "input_info": {"sample_size": []}},
        "input_info.sample_size: got [], expected a list that is not empty.",
    ),
    (
        {"compression": BINARIZATION, "input_info": {"sample_size": [1, 0]}},
        "input_info.sample_size[1]: got 0, expected a whole number above 0.",
    ),
    (
        {"compression": BINARIZATION, "input_info": {"sample_size": [1], "filler": "gauss"}},
        'input_info.filler: got "gauss", expected one of "ones", "zeros", "random".',
    ),
    (
        {"compression": BINARIZATION, "input_info": {"sample_size": [1], "type": "int8"}},
        'input_info.type: got "int8", expected one of "float", "long".',
    ),
    (
        {"compression": BINARIZATION, "input_info": [{"sample_size": [1], "keyword": "x"}] * 2},
        'input_info[1].keyword: got "x", expected another name. Two inputs have this keyword.',
    ),
    ({"compression": BINARIZATION, "compression_lr_multiplier": "2"}, "compression_lr_multiplier: got "),
    ({"compression": BINARIZATION, "log_dir": 1}, "log_dir: got 1, expected a text."),
    (
        {"compression": [BINARIZATION, BINARIZATION]},
        'compression[1].algorithm: got "binarization", expected no second binarization. Merge it into',
    ),
    # What NNCF takes in silence.
    ({}, 'compression: is missing: add "compression": {"algorithm": "binarization", "mode": "xnor"}.'),
    ({"compression": []}, 'compression: got [], expected an algorithm. Add {"algorithm": "binarization"'),
    (
        with_params(wd_exclude=["norms", "bias"]),
        'params.wd_exclude[1]: got "bias", expected one of norms, biases, prelu, binarizers, binarized_weigh',
    ),
    (with_params(wd_exclude="{re}["), 'params.wd_exclude: got "{re}[", expected a regular expression after'),
    (
        with_params(lr_schedule="cosine"),
        'params.lr_schedule: got "cosine", expected "poly" without a start of the decay. Add "lr_poly_drop',
    ),
    (with_params(base_lr=True), "base_lr: got true, expected a number. true and false are not numbers."),
    (with_params(batch_multiplier=1.5), "batch_multiplier: got 1.5, expected a whole number."),
    (with_params(base_wd=float("nan")), "base_wd: got NaN, expected a finite number."),
    (with_params(weights_quant_start_epoch=-1), "got -1, expected a number of at least 0."),
    (
        with_params(disable_wd_start_epoch=None),
        "got null, expected a value. null is not allowed: leave the key out for its default.",
    ),
    (
        {"compression": {**BINARIZATION, "validate_scopes": "true"}},
        'validate_scopes: got "true", expected true or',
    ),
    (
        {"compression": {**BINARIZATION, "ignored_scopes": ["a", 1]}},
        "ignored_scopes[1]: got 1, expected a text.",
    ),
    (
        {"compression": {**BINARIZATION, "initializer": 3}},
        "compression.initializer: got 3, expected an object.",
    ),
    ({"compression": BINARIZATION, "epoch": 3}, 'epoch: unknown key (value 3). Did you mean "epochs"?'),
    ({"compression": BINARIZATION, "optimiser": {}}, 'Did you mean "optimizer"?'),
    (
        {"compression": BINARIZATION, "validate_scopes": False},
        "unknown key here (value false): it belongs in compr",
    ),
    (with_params(mode="xnor"), 'params.mode: unknown key here (value "xnor"): it belongs in compression or'),
    ({"compression": BINARIZATION, 3: 4}, "got 3, expected keys that are texts."),
    (5, "config: got int, expected a path, a dict or a fxbin.Config."),
]


@pytest.mark.parametrize(("config", "expected"), ERRORS, ids=[expected[:40] for _, expected in ERRORS])
def test_what_is_wrong_is_said_with_key_value_and_next_step(config: object, expected: str) -> None:
    assert expected in message(config)


def test_all_problems_are_reported_at_once() -> None:
    wrong: dict[str, Any] = {
        "compression": {"algorithm": "binarisation", "mode": "bnn", "params": {"base_lr": "x", "epochs": 1}},
        "target_device": "TPU",
        "input_info": [{"sample_size": [1]}, {"filler": 1}],
    }
    text = message(wrong)
    lines = text.splitlines()
    assert lines[0] == "config: 7 problems"
    assert {line.split(": ")[0].strip() for line in lines[1:]} == {
        "compression.algorithm",
        "compression.mode",
        "compression.params.base_lr",
        "compression.params.epochs",
        "input_info[1].sample_size",
        "input_info[1].filler",
        "target_device",
    }


def test_check_config_lists_problems_without_raising() -> None:
    assert check_config({"compression": BINARIZATION}) == []
    assert [problem.path for problem in check_config({"compression": [], "epochs": 0})] == [
        "epochs",
        "compression",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({k for s in SECTIONS.values() for k in keys_of(s)})), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_any_content_is_a_config_or_a_config_error(data: object) -> None:
    with suppress(ConfigError):
        load_config(data if isinstance(data, dict) else {"compression": data})


def test_schema_file_is_current() -> None:
    current = (ROOT / "configs/schema.json").read_text(encoding="utf-8")
    assert current == config_json_schema_text(), "run: make schema"


def test_every_key_is_documented_once_beside_its_field() -> None:
    sections: set[type[BaseModel]] = {*SECTIONS.values(), UnusedKeys}
    for section in sections:
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name} has no docstring"


def test_every_section_can_be_named_in_messages() -> None:
    def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
        found = {model}
        for field in model.model_fields.values():
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    found |= sections(part)
        return found

    assert sections(Config) == set(SECTIONS.values())


def test_every_bound_in_the_schema_is_a_keyword_that_editors_check() -> None:
    assert not re.search(r'"(?:le|lt|ge|gt)":', config_json_schema_text())
