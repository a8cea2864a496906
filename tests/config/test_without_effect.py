"""Modes, parts and `params` that contradict each other: what wins, what is refused, what is noted."""

from typing import Any

import pytest
from torch import nn

import fxbin
from fxbin.binarizers import parts, registry
from fxbin.binarizers.activation_levels import Sign
from fxbin.config import Config, check_config, load_config
from fxbin.config.preset import preset, preset_names
from fxbin.config.written_out import is_written_out

COMPLETE: dict[str, Any] = {
    "activations": {"levels": "sign", "estimator": "window"},
    "weights": {"levels": "learned", "estimator": "clipped", "latent": "center"},
}


def content(name: str | None = None, **section: Any) -> dict[str, Any]:
    given = {} if name is None else {"preset": name}
    return given | {
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "compression": {"algorithm": "binarization", **section},
    }


def binarizers(config: Config) -> tuple[str, str]:
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3)), config)
    (site,) = model.binarization.sites.values()
    return str(site.activation.rule), str(site.weight)


@pytest.mark.filterwarnings("ignore:compression.rewrites")
@pytest.mark.parametrize("as_list", [False, True])
def test_a_mode_replaces_the_parts_of_the_preset(as_list: bool) -> None:
    data = content("recommended", mode="dorefa")
    data["compression"] = [data["compression"]] if as_list else data["compression"]
    config = load_config(data)
    with pytest.warns(UserWarning, match='what "recommended" says about .* is replaced by the mode'):
        found = binarizers(config)
    assert found == (
        "ZeroScale(scale_init='quantile', threshold_init='half')",
        "DoReFaWeightBinarizer()",
    )
    assert config.binarization.described == "dorefa"
    assert config.binarization.rewrites == ("downsample_pooling", "shortcuts", "rprelu")
    assert config.binarization.params.base_lr == 5e-3
    (note,) = config.notes
    assert note.startswith('preset: what "recommended" says about compression.activations.levels, ')


@pytest.mark.filterwarnings("ignore:compression.rewrites", "ignore:preset")
def test_the_mode_of_a_section_replaces_the_parts_of_that_section_alone() -> None:
    config = load_config(content("adabin", weights={"mode": "dorefa", "estimator": "clipped"}))
    activation, weight = binarizers(config)
    assert activation == "Free()"
    assert weight == "ComposedWeightBinarizer(TensorMean(), Clipped(width=1.0), Unchanged())"
    config = load_config(content("adabin", activations={"mode": "xnor"}))
    assert config.binarization.activations.given == {}
    assert config.binarization.weights.levels == "center_distance"


def test_a_mode_whose_own_estimator_stays_is_kept_and_noted() -> None:
    config = load_config(content(mode="dorefa", weights={"levels": "filter_mean"}))
    assert config.notes == (
        (
            'compression.mode: "dorefa" has no effect beside compression.weights.levels "filter_mean", as '
            'the rest of it is the same in "xnor"'
        ),
    )
    assert load_config(content(mode="xnor", weights={"levels": "learned"})).notes == ()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"mode": "dorefa", **COMPLETE},
            (
                'mode: got "dorefa", expected no such key beside compression.activations.levels "sign", '
                'compression.activations.estimator "window", compression.weights.levels "learned", '
                'compression.weights.estimator "clipped", compression.weights.latent "center", which replace '
                "all of it. Remove it, or those that are to be as the mode says."
            ),
        ),
        (
            {"mode": "xnor", "activations": {"mode": "dorefa"}, "weights": COMPLETE["weights"]},
            'mode: got "xnor", expected no such key beside compression.activations.mode "dorefa", ',
        ),
        (
            {"weights": {"mode": "xnor", **COMPLETE["weights"]}},
            'weights.mode: got "xnor", expected no such key beside compression.weights.levels "learned", ',
        ),
        (
            {"weights": {"levels": "learned"}, "params": {"weight_scale_axis": "output"}},
            (
                'params.weight_scale_axis: got "output", expected no such key beside '
                'compression.weights.levels "learned", which does not read it. Remove it, or replace the '
                'levels by those of mode "xnor", which reads it.'
            ),
        ),
        (
            {"activations": {"levels": {"name": "free"}}, "params": {"activation_scale_init": "mse"}},
            (
                'params.activation_scale_init: got "mse", expected no such key beside '
                'compression.activations.levels "free", which does not read it. Remove it, or replace the '
                'levels by "zero_scale", which reads it.'
            ),
        ),
        (
            {
                "activations": {"levels": {"name": "zero_scale", "scale_init": "mse"}},
                "params": {"activation_scale_init": "quantile"},
            },
            (
                'params.activation_scale_init: got "quantile", expected no such key beside '
                'compression.activations.levels.scale_init "mse", which is used instead. Keep one of the two.'
            ),
        ),
        (
            {"activations": {"levels": "sign"}, "params": {"progress_epochs": 3}},
            (
                "params.progress_epochs: got 3, expected no such key without a part that changes from epoch "
                'to epoch, such as "clamp_quantiles", "ede", "reste". Remove it.'
            ),
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(section: dict[str, Any], message: str) -> None:
    (problem,) = check_config(content(**section))
    assert str(problem).startswith(f"compression.{message}")


def test_a_key_that_the_parts_of_a_preset_do_not_read_is_refused_with_the_preset() -> None:
    data = content("recommended", params={"weight_scale_axis": "input", "activation_scale_init": "mse"})
    data["compression"] = [data["compression"]]
    axis, start = check_config(data)
    assert str(axis).startswith(
        'compression[0].params.weight_scale_axis: got "input", expected no such key beside '
        'compression.weights.levels "filter_mean" of preset "recommended", which does not read it.'
    )
    assert start.path == "compression[0].params.activation_scale_init"


@pytest.mark.parametrize(
    "section",
    [
        {"mode": "dorefa", "weights": {"mode": "dorefa"}, "activations": {"mode": "dorefa"}},
        {"weights": {"mode": "xnor"}, "params": {"weight_scale_axis": "input"}},
        {"weights": {"estimator": "clipped"}, "params": {"weight_scale_axis": "input"}},
        {
            "activations": {"levels": {"name": "zero_scale", "scale_init": "mse"}},
            "params": {"activation_threshold_init": "mse"},
        },
        {"activations": {"estimator": "ede"}, "params": {"progress_epochs": 3}},
        {"activations": {"levels": "sign"}, "params": {"activation_init_batches": 3}},
    ],
)
def test_keys_that_something_reads_are_accepted(section: dict[str, Any]) -> None:
    assert load_config(content(**section)).notes == ()


def test_without_parts_a_key_that_nothing_reads_is_noted() -> None:
    section: dict[str, Any] = {
        "mode": "dorefa",
        "params": {"weight_scale_axis": "input", "progress_epochs": 3},
    }
    axis, progress = load_config(content(**section)).notes
    assert axis == (
        'compression.params.weight_scale_axis: "input" has no effect beside compression.mode "dorefa", which '
        "does not read it"
    )
    assert progress.startswith("compression.params.progress_epochs: 3.0 has no effect without a part that ")


def test_a_mode_and_levels_of_ones_own_say_themselves_what_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_weight_factories", dict(registry._weight_factories))
    monkeypatch.setattr(parts.activation_levels, "_parts", dict(parts.activation_levels._parts))
    fxbin.register_weight_binarizer("own")(lambda _shape, _params: fxbin.XNORWeightBinarizer())
    params = {"weight_scale_axis": "input", "progress_epochs": 3}
    assert load_config(content(mode="own", params=params)).notes == ()

    @fxbin.register_activation_levels("reading")
    class Reading(Sign):
        from_params = {"shift_init": "activation_threshold_init"}  # noqa: RUF012  (as a user writes it)

    section: dict[str, Any] = {
        "activations": {"levels": "reading"},
        "params": {"activation_threshold_init": "mse"},
    }
    assert check_config(content(**section)) == []


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("own", [{}, {"mode": "xnor"}, {"mode": "dorefa"}, {"weights": {"mode": "dorefa"}}])
def test_a_config_with_a_preset_survives_being_written(name: str, own: dict[str, Any]) -> None:
    config = load_config(content(name, **own))
    written = config.to_dict()
    assert is_written_out(written)
    again = load_config(written)
    assert again == config
    assert again.notes == config.notes
    assert again.to_dict() == written


def test_no_shipped_preset_has_keys_without_effect() -> None:
    assert [load_config(content(name)).notes for name in preset_names()] == [()] * len(preset_names())
    assert not any(is_written_out(preset(name)) for name in preset_names())


def test_what_an_earlier_version_wrote_out_is_read_as_it_was() -> None:
    # It let a preset's parts win over a mode, and accepted keys that nothing reads.
    written = load_config(content("recommended")).to_dict()
    section = written["compression"][0]
    section["mode"] = "dorefa"
    section["params"]["weight_scale_axis"] = "input"
    config = load_config(written)
    assert config.binarization.weights.levels == "filter_mean"
    assert config.binarization.activations.levels == "sign"
    assert [note.partition(":")[0] for note in config.notes] == [
        "compression.mode",
        "compression.params.weight_scale_axis",
    ]
