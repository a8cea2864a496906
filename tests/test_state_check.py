"""Which states load into a transformed model, and which are rejected by name."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import fxbin
from fxbin import (
    ActivationLevels,
    Levels,
    WeightLevels,
)
from fxbin.added.names import REWRITES
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers.parts import activation_levels, weight_levels
from fxbin.errors import CheckpointError
from fxbin.passes import AddShortcuts, InsertHardtanh, InsertRPReLU, NormBeforeBinarize, ReplaceStem, Rewrite

State = dict[str, Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2)
    )


def transformed(
    mode: str = "xnor", ignored: tuple[int, ...] = (), net: nn.Module | None = None, **params: Any
) -> BinarizedModule:
    config = {
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "compression": {"algorithm": "binarization", "mode": mode, "params": params},
    }
    if ignored:
        config["ignored_scopes"] = [f"Sequential/NNCFConv2d[{index}]/conv2d_0" for index in ignored]
    return fxbin.transform(net or network(), config)


def trained(model: BinarizedModule) -> State:
    """A state that differs from that of a fresh model in everything."""
    model.binarization.enable()
    model(torch.rand(4, 3, 8, 8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return model.state_dict()


def unchanged(model: nn.Module, load: Callable[[], Any], message: str) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=message):
        load()
    after = model.state_dict()
    assert [*before] == [*after]
    assert all(torch.equal(value, after[key]) for key, value in before.items())


INPUT = {"weight_scale_axis": "input"}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("saved", "here", "message"),
    [
        (("dorefa", {}), ("xnor", {}), "'dorefa', this model has 'xnor'"),
        (("xnor", {}), ("dorefa", {}), "'xnor', this model has 'dorefa'"),
        (("xnor", INPUT), ("xnor", {}), "'xnor_input', this model has 'xnor'"),
        (("xnor", {}), ("xnor", INPUT), "'xnor', this model has 'xnor_input'"),
    ],
)
def test_a_state_of_another_mode_is_refused_and_changes_nothing(
    saved: tuple[str, dict[str, Any]], here: tuple[str, dict[str, Any]], message: str, strict: bool
) -> None:
    state = trained(transformed(saved[0], **saved[1]))
    model = transformed(here[0], **here[1])
    text = rf"state_dict: 0\.weight_binarizer was saved with {message}: it would compute"
    unchanged(model, lambda: model.load_state_dict(state, strict=strict), text)
    # Also where only a part is loaded, or the model is a part.
    layer = model.get_submodule("3")
    part = {key.removeprefix("3."): value for key, value in state.items() if key.startswith("3.")}
    with pytest.raises(CheckpointError, match=rf"weight_binarizer was saved with {message}"):
        layer.load_state_dict(part)
    whole = nn.ModuleDict({"net": model})
    in_whole = {f"net.{key}": value for key, value in state.items()}
    with pytest.raises(CheckpointError, match=rf"net\.0\.weight_binarizer was saved with {message}"):
        whole.load_state_dict(in_whole, strict=strict)


def test_a_state_of_the_same_config_loads() -> None:
    state = trained(transformed())
    model = transformed()
    model.load_state_dict(state)
    assert model.binarization.stage == "activations and weights"
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_state_without_the_mode_loads_in_full() -> None:
    state = {key: value for key, value in trained(transformed()).items() if "mode_" not in key}
    assert len(state) == len(transformed().state_dict()) - 2
    model = transformed("dorefa")
    assert not any(model.load_state_dict(state))
    assert torch.equal(model.state_dict()["3.weight"], state["3.weight"])


def test_values_of_the_mode_do_not_matter() -> None:
    state = trained(transformed())
    for key in (key for key in state if "mode_" in key):
        assert state[key].tolist() == [1.0]
        state[key] = torch.zeros(1)
    transformed().load_state_dict(state)


def test_a_state_in_which_all_values_were_averaged_as_floats_loads() -> None:
    states = [trained(transformed()), trained(transformed())]
    average = {key: sum(state[key].float() for state in states) / 2 for key in states[0]}
    model = transformed()
    model.load_state_dict(average)
    assert model.binarization.stage == "activations and weights"
    averaged = AveragedModel(model, use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(model)
    model.load_state_dict(averaged.module.state_dict())


def test_the_state_is_made_of_tensors_alone() -> None:
    for value in transformed().state_dict().values():
        assert isinstance(value, Tensor)
        assert value.numel() > 0


def test_a_plain_models_state_is_told_and_loads_on_request() -> None:
    plain, model = network(), transformed()
    with torch.no_grad():
        plain.get_parameter("0.weight").add_(1)
    message = "belongs to a model that was not transformed: it has no entries for the 4 binarizers"
    unchanged(model, lambda: model.load_state_dict(plain.state_dict()), message)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model.get_parameter("0.weight"), plain.get_parameter("0.weight"))


def test_other_ignored_scopes_are_told() -> None:
    state = trained(transformed(ignored=(0,)))
    model = transformed(ignored=(3,))
    message = (
        r"saved with another config\. it has binarizers that this model lacks: 3\.activation_binarizer, "
        r"3\.weight_binarizer; this model has binarizers that it lacks: 0\.activation_binarizer, 0\.weight"
    )
    unchanged(model, lambda: model.load_state_dict(state), message)
    fewer = transformed()
    unchanged(fewer, lambda: fewer.load_state_dict(state), r"config\. this model has .* lacks: 0\.activation")


def test_a_truncated_state_is_told() -> None:
    state = dict([*trained(transformed()).items()][:8])
    model = transformed()
    message = (
        r"incomplete, or belongs to another network: \d+ entries .* missing, not only binarizers: 1\.weight"
    )
    unchanged(model, lambda: model.load_state_dict(state), message)


@pytest.mark.parametrize("lead", ["module.", "_orig_mod.", "net.model."])
def test_keys_of_a_wrapper_are_told(lead: str) -> None:
    model = transformed()
    state = {f"{lead}{key}": value for key, value in trained(transformed()).items()}
    message = f"none of its {len(state)} entries is one of this model: .* They begin with '{lead}'"
    unchanged(model, lambda: model.load_state_dict(state), message)


def test_a_checkpoint_in_place_of_a_state_dict_is_told() -> None:
    model = transformed()
    checkpoint = {"model": trained(transformed()), "epoch": 3}
    message = "none of its 2 entries is one of this model: model, epoch. Pass the state_dict itself, if this"
    unchanged(model, lambda: model.load_state_dict(checkpoint), message)


class Renames(nn.Module):
    """As models do whose files are older than they are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_load_state_dict_pre_hook(self.strip)  # type: ignore[no-untyped-call]

    @staticmethod
    def strip(_module: nn.Module, state_dict: State, *_: Any) -> None:
        for key in [*state_dict]:
            state_dict[key.removeprefix("old.")] = state_dict.pop(key)

    def _load_from_state_dict(self, state_dict: State, prefix: str, *args: Any) -> None:
        if f"{prefix}stem.weight" in state_dict:
            for key in [*state_dict]:
                state_dict[key.replace("stem", "conv")] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def test_hooks_that_rename_keys_come_first() -> None:
    saved = trained(transformed(net=Renames()))
    for name in ({f"old.{key}": value for key, value in saved.items()},
                 {key.replace("conv", "stem"): value for key, value in saved.items()}):  # fmt: skip
        model = transformed(net=Renames())
        model.load_state_dict(name)
        assert torch.equal(model.get_parameter("conv.weight"), saved["conv.weight"])
    assert len(model._load_state_dict_pre_hooks) == 1


BIREAL = {"activations": {"levels": {"name": "sign", "learned_scale": False}, "estimator": "approx_sign"}}
LEARNED = {"activations": {"levels": "sign", "estimator": "approx_sign"}}


def rewritten(
    rewrites: tuple[str, ...], sections: dict[str, Any], widths: tuple[int, int] = (4, 6)
) -> BinarizedModule:
    torch.manual_seed(0)
    a, b = widths
    net = nn.Sequential(
        nn.Conv2d(3, a, 3, 1, 1), nn.ReLU(), nn.Conv2d(a, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU(),
        nn.Conv2d(b, b, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * b, 2),
    )  # fmt: skip
    compression = {"algorithm": "binarization", "rewrites": [*rewrites], **sections}
    return fxbin.transform(net, {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": compression})


@pytest.mark.parametrize(
    ("saved", "here", "message"),
    [
        (
            (("shortcuts", "rprelu"), LEARNED),
            ((), LEARNED),
            r'it has layers of the rewrite "rprelu" .*: 0\.rprelu.*"shortcuts" .*: 0\.shortcut, .* rewrites',
        ),
        (
            (("shortcuts",), LEARNED),
            (("shortcuts", "rprelu"), LEARNED),
            r'this model has layers of the rewrite "rprelu" that it lacks: 0\.rprelu',
        ),
        (
            ((), LEARNED),
            ((), BIREAL),
            r"it has parts of binarizers .* lacks: 0\.activation_binarizer\.scale, .* activations and",
        ),
        (
            ((), BIREAL),
            ((), LEARNED),
            r"this model has parts of binarizers that it lacks: 0\.activation_binarizer\.scale, ",
        ),
        (
            (("norm_before_binarize",), LEARNED),
            (("shortcuts",), BIREAL),
            r'.*"norm_before_binarize" that this model .*"shortcuts" that it lacks: .*parts of binarizers',
        ),
    ],
)
def test_other_rewrites_and_parts_are_told(saved: Any, here: Any, message: str) -> None:
    state = rewritten(*saved).state_dict()
    model = rewritten(*here)
    unchanged(model, lambda: model.load_state_dict(state), rf"saved with another config\. {message}")


@dataclass(frozen=True)
class OneSided(ActivationLevels):
    """A rule whose option changes the output, and the names of no parameter."""

    high: float = 2.0

    def parameters(self, channels: int) -> dict[str, Tensor]:
        return {"shift": torch.zeros(1, channels, 1, 1)}

    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        shift = parameters["shift"]
        return Levels(shift, shift.new_zeros(1), shift.new_full((1,), self.high))

    def start(self, _x: Tensor, _site: str, _alone: bool) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class Constant(WeightLevels):
    """Another one, for weights."""

    size: float = 1.0

    def of(self, w: Tensor, _transformed: Tensor, _parameters: Any) -> tuple[None, Tensor]:
        return None, w.new_full((1, 1, 1, 1), self.size)


@pytest.fixture
def own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register both, for one test."""
    monkeypatch.setitem(activation_levels._parts, "one_sided", OneSided)
    monkeypatch.setitem(weight_levels._parts, "constant", Constant)


def clamped(q_max: float) -> dict[str, Any]:
    return {"weights": {"latent": {"name": "clamp_quantiles", "q_max": q_max}}, "params": PROGRESS}


PROGRESS = {"progress_epochs": 2}
ONE_SIDED = {"activations": {"levels": "one_sided"}}


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("saved", "here", "message"),
    [
        ((("shortcuts",), {}), ((), {}), "weight_binarizer was saved with 'xnor_shortcuts', this .* 'xnor'"),
        (((), {}), (("shortcuts",), {}), "weight_binarizer was saved with 'xnor', .* 'xnor_shortcuts'"),
        (
            (("shortcuts", "hardtanh"), BIREAL),
            (("shortcuts",), BIREAL),
            "saved with 'xnor_hardtanh_shortcuts', this model has 'xnor_shortcuts'",
        ),
        (
            ((), clamped(0.9)),
            ((), clamped(0.99)),
            "'xnor_filter_mean_clamp_quantiles_q_max_0_9', this .*'xnor_filter_mean_clamp_quantiles'",
        ),
        (
            ((), {"weights": {"levels": {"name": "constant", "size": 3.0}}}),
            ((), {"weights": {"levels": "constant"}}),
            "saved with 'xnor_constant_size_3_none', this model has 'xnor_constant_none'",
        ),
        (
            ((), {"activations": {"levels": {"name": "one_sided", "high": 3.0}}}),
            ((), ONE_SIDED),
            r"0\.activation_binarizer was saved with 'xnor_one_sided_high_3', this .*'xnor_one_sided'",
        ),
        (((), ONE_SIDED), ((), BIREAL), "saved with 'xnor_one_sided', which this model has not: it would"),
    ],
)
def test_what_changes_no_key_but_the_outputs_is_told(
    saved: Any, here: Any, message: str, strict: bool
) -> None:
    # Shortcuts around convolutions that keep the number of channels have no layers.
    state = rewritten(saved[0], saved[1], (3, 3)).state_dict()
    model = rewritten(here[0], here[1], (3, 3))
    unchanged(model, lambda: model.load_state_dict(state, strict=strict), message)
    whole = nn.ModuleDict({"net": model})
    in_whole = {f"net.{key}": value for key, value in state.items()}
    with pytest.raises(CheckpointError, match=message):
        whole.load_state_dict(in_whole, strict=strict)


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize("sections", [clamped(0.9), ONE_SIDED, BIREAL], ids=str)
def test_a_state_with_the_same_rewrites_and_options_loads(sections: dict[str, Any]) -> None:
    state = rewritten(("shortcuts", "rprelu"), sections).state_dict()
    model = rewritten(("shortcuts", "rprelu"), sections)
    assert not any(model.load_state_dict(state))
    assert [*model.state_dict()] == [*state]


@pytest.mark.usefixtures("own_parts")
def test_the_type_of_an_option_does_not_matter() -> None:
    def of(size: float) -> BinarizedModule:
        return rewritten((), {"weights": {"levels": {"name": "constant", "size": size}}})

    assert not any(of(3.0).load_state_dict(of(3).state_dict()))


def test_the_sign_of_an_option_is_in_the_record() -> None:
    binarizer = fxbin.XNORWeightBinarizer()
    binarizer.keep_mode("xnor", "own shift -0.1", "shortcuts")
    assert binarizer.mode_key == "mode_xnor_own_shift_minus_0_1_shortcuts"


def test_a_state_without_the_record_loads_as_the_message_says() -> None:
    state = rewritten(("shortcuts",), {}).state_dict()
    model = rewritten(("shortcuts",), {})
    kept = {key: x for key, x in state.items() if ".mode_" not in key}
    assert len(kept) < len(state)
    assert not any(model.load_state_dict(kept))


def test_a_binarizer_outside_a_model_loads_what_fits() -> None:
    state = transformed().get_submodule("0.weight_binarizer").state_dict()
    found = fxbin.XNORWeightBinarizer().load_state_dict(state, strict=False)
    assert found.unexpected_keys == ["mode_xnor"]


def test_where_training_starts_does_not_matter() -> None:
    levels = {"name": "sign", "learned_scale": False}
    state = rewritten((), {"activations": {"levels": levels | {"shift_init": "zero"}}}).state_dict()
    model = rewritten((), {"activations": {"levels": levels | {"shift_init": "mean"}}})
    assert not any(model.load_state_dict(state))


def test_a_plain_models_state_is_told_by_a_rewritten_model() -> None:
    model = rewritten(("shortcuts", "rprelu"), LEARNED)
    plain = {
        key: value for key, value in rewritten((), LEARNED).state_dict().items() if "binarizer" not in key
    }
    unchanged(model, lambda: model.load_state_dict(plain), "belongs to a model that was not transformed")


def test_the_names_of_added_layers_are_those_of_the_passes() -> None:
    rewrites: tuple[type[Rewrite[Any]], ...] = (
        InsertHardtanh,
        InsertRPReLU,
        AddShortcuts,
        NormBeforeBinarize,
        ReplaceStem,
    )
    assert {rewrite.layer: rewrite.key for rewrite in rewrites} == REWRITES
