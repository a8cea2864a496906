"""Averages of a transformed model's weights, however they are made, and other writers of its state."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, update_bn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import TransformError
from tests.transforming import SMALL, Small, config

# Dynamo itself makes the object it warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

Update = Callable[[], None]


def small() -> BinarizedModule:
    torch.manual_seed(0)
    return fxbin.transform(Small(), SMALL)


def batch(seed: int = 0) -> Tensor:
    # Far from 1, so that logarithms of scales are far from 0.
    return 4 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def train(model: BinarizedModule, *updates: Update, steps: int = 3) -> None:
    """A few steps of SGD, each followed by `updates`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(batch(step)).square().sum().backward()
        optimizer.step()
        for update in updates:
            update()


class CopiesBuffers:
    """The average of parameters of open-mmlab: buffers are copied through ``.data``."""

    def __init__(self, model: nn.Module) -> None:
        self.module = copy.deepcopy(model)

    def update(self, model: nn.Module) -> None:
        for own, other in zip(self.module.parameters(), model.parameters(), strict=True):
            own.data.lerp_(other.data, 0.1)
        for kept, new in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.data.copy_(new.data)


class ParametersAlone:
    """The target network of self-supervised learning."""

    def __init__(self, model: nn.Module) -> None:
        self.module = copy.deepcopy(model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for own, other in zip(self.module.parameters(), model.parameters(), strict=True):
            own.lerp_(other, 0.1)


class SkipsIntegers:
    """The average of detectors: every floating point entry of the state_dict, and no other."""

    def __init__(self, model: nn.Module) -> None:
        self.module = copy.deepcopy(model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        now = model.state_dict()
        for name, own in self.module.state_dict().items():
            if own.dtype.is_floating_point:
                own *= 0.9
                own += 0.1 * now[name].detach()


def averaged(model: BinarizedModule, kind: str) -> tuple[nn.Module, Update]:
    """A copy of `model` and what moves it a tenth of the way to `model`."""
    if kind.startswith("swa"):
        functions = {
            "swa": {},
            "swa_avg_fn": {"avg_fn": get_ema_avg_fn(0.9)},
            "swa_multi": {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
            "swa_buffers": {"avg_fn": get_ema_avg_fn(0.9), "use_buffers": True},
            "swa_multi_buffers": {"multi_avg_fn": get_ema_multi_avg_fn(0.9), "use_buffers": True},
        }
        average = AveragedModel(model, **functions[kind])
        return average.module, lambda: average.update_parameters(model)
    if kind.startswith("timm"):
        from timm.utils import ModelEmaV2, ModelEmaV3

        made = ModelEmaV2(model, 0.9) if kind == "timm_v2" else ModelEmaV3(model, 0.9)
        return made.module, lambda: made.update(model)
    kinds: dict[str, Callable[[nn.Module], Any]] = {
        "copies_buffers": CopiesBuffers,
        "skips_integers": SkipsIntegers,
        "parameters": ParametersAlone,
    }
    own = kinds[kind](model)
    return own.module, lambda: own.update(model)


KINDS = [
    *["swa", "swa_avg_fn", "swa_multi", "swa_buffers", "swa_multi_buffers"],
    *["timm_v2", "timm_v3", "copies_buffers", "skips_integers"],
]


def scales(model: BinarizedModule) -> dict[str, float]:
    return {name: site.activation.scale.item() for name, site in model.binarization.sites.items()}


def reference(average: nn.Module) -> BinarizedModule:
    """A model that has the parameters and statistics of `average`, and is switched on by hand."""
    model = small()
    state = {name: value.clone() for name, value in average.state_dict().items()}
    flags = {name: torch.ones(1) for name in state if name.endswith(("enabled", "scale_initialized"))}
    model.load_state_dict(state | flags)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_average_made_before_a_switch_is_switched_too(kind: str) -> None:
    model = small()
    average, update = averaged(model, kind)
    train(model, update)
    assert isinstance(average, BinarizedModule)
    assert set(average.binarization.enabled.values()) == {(False, False)}
    model.binarization.enable(activations=True, weights=True)
    seen: list[dict[str, float]] = []
    train(model, update, lambda: seen.append(scales(model)))
    assert average.binarization.stage == fxbin.Stage.BINARIZED
    average.eval()
    average(batch())
    for name, scale in scales(average).items():
        # An average of what has been since the start, not of what stood there before.
        since = [at[name] for at in seen]
        assert min(since) - 0.1 < scale < max(since) + 0.1
        assert abs(scale) > 0.5
    assert torch.equal(average(batch()), reference(average)(batch()))
    assert not torch.equal(average(batch()), model.eval()(batch()))


@pytest.mark.parametrize("kind", KINDS)
def test_average_made_after_a_switch_stays_switched(kind: str) -> None:
    model = small()
    model.binarization.enable(activations=True, weights=True)
    train(model)
    average, update = averaged(model, kind)
    train(model, update)
    assert isinstance(average, BinarizedModule)
    assert scales(average) != scales(model)
    assert average.binarization.stage == fxbin.Stage.BINARIZED
    average.eval()
    assert torch.equal(average(batch()), reference(average)(batch()))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_average_that_never_ran_is_what_it_is(kind: str) -> None:
    model = small()
    average, update = averaged(model, kind)
    train(model, update)
    model.binarization.enable(activations=True, weights=True)
    train(model, update)
    state = average.state_dict()
    loaded = small()
    loaded.load_state_dict(state)
    assert loaded.binarization.stage == fxbin.Stage.BINARIZED
    assert torch.equal(loaded.eval()(batch()), average.eval()(batch()))


def test_copy_that_is_no_average_stays_what_it_was() -> None:
    model = small()
    snapshot, other = copy.deepcopy(model), small()
    model.binarization.enable(activations=True, weights=True)
    train(model)
    before = {name: value.clone() for name, value in snapshot.state_dict().items()}
    for either in (snapshot, other):
        assert set(either.binarization.enabled.values()) == {(False, False)}
        either.binarization.enable(activations=True, weights=True)
        train(either)
    torch.testing.assert_close(snapshot.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert not torch.equal(before["conv1.weight"], snapshot.get_parameter("conv1.weight"))


@pytest.mark.parametrize("kind", [*KINDS, "parameters"])
def test_average_switched_on_by_hand_keeps_its_scales_in_update_bn(kind: str) -> None:
    model = small()
    average, update = averaged(model, kind)
    assert isinstance(average, BinarizedModule)
    model.binarization.enable(activations=True, weights=True)
    train(model, update)
    before = scales(average)
    average.binarization.enable(activations=True, weights=True)
    update_bn([batch(index) for index in range(3)], average)
    assert scales(average) == before
    assert all(site.activation.is_scale_initialized for site in average.binarization.sites.values())


def test_copy_of_a_copy_starts_with_the_first_model() -> None:
    model = small()
    copied = copy.deepcopy(model)
    second = copy.deepcopy(copied)
    model.binarization.enable(activations=True)
    model(batch())
    assert scales(second) == scales(copied) == scales(model)
    copied.binarization.enable(activations=True)
    copied(batch(1))
    assert scales(second) == scales(copied) != scales(model)


def test_average_of_parameters_alone_follows_the_schedule() -> None:
    torch.manual_seed(0)
    params = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2}
    model = fxbin.transform(Small(), config(2, 3, 8, 8, params=params))
    average = ParametersAlone(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    schedule = fxbin.StagedSchedule(model, optimizer, followers=[average.module])
    for epoch in range(3):
        schedule.start_epoch(epoch)
        model(batch(epoch)).sum().backward()
        optimizer.step()
        average.update(model)
        schedule.step(1.0)
    state = {name: value.clone() for name, value in average.module.state_dict().items()}
    flags = {name: value for name, value in state.items() if name.endswith(("enabled", "scale_initialized"))}
    assert all(value.item() == 1 for value in flags.values())
    assert torch.equal(average.module.eval()(batch()), reference(average.module)(batch()))


def test_follower_that_is_no_copy_is_refused() -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    with pytest.raises(
        TransformError, match=r"followers: expected copies of the model .*, got the model itself"
    ):
        fxbin.StagedSchedule(model, optimizer, followers=[model])
    other = fxbin.transform(nn.Conv2d(3, 3, 3), SMALL)
    with pytest.raises(TransformError, match=r"followers: .* got a model with other call sites"):
        fxbin.StagedSchedule(model, optimizer, followers=[other])


def trained() -> BinarizedModule:
    model = small()
    model.binarization.enable(activations=True, weights=True)
    train(model)
    return model.eval()


def test_state_written_in_place_is_followed() -> None:
    """As torch.distributed.checkpoint loads: into the tensors that state_dict gives."""
    source, target = trained(), small().eval()
    before = target(batch())
    state = target.state_dict()
    with torch.no_grad():
        for name, value in source.state_dict().items():
            state[name].copy_(value)
    assert not torch.equal(target(batch()), before)
    assert torch.equal(target(batch()), source(batch()))
    assert target.binarization.stage == fxbin.Stage.BINARIZED
    assert all(site.activation.is_scale_initialized for site in target.binarization.sites.values())


def test_functional_call_goes_by_the_flags_it_is_given() -> None:
    source, target = trained(), small().eval()
    plain = target(batch())
    assert torch.equal(functional_call(target, source.state_dict(), (batch(),)), source(batch()))
    assert torch.equal(target(batch()), plain)
    assert target.binarization.stage == fxbin.Stage.FULL_PRECISION


def test_compiled_model_follows_what_was_written_in_place() -> None:
    source, target = trained(), small().eval()
    torch.compiler.reset()
    compiled = torch.compile(target, backend="eager", fullgraph=True)
    compiled(batch())
    with torch.no_grad():
        for own, other in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
            own.copy_(other)
    torch.testing.assert_close(compiled(batch()), source(batch()))


def stacked(models: list[BinarizedModule]) -> dict[str, Tensor]:
    states = [model.state_dict() for model in models]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def test_ensemble_mapped_over_by_vmap_is_in_one_stage_or_refused() -> None:
    models = [trained()]
    models.append(copy.deepcopy(models[0]))
    with torch.no_grad():
        models[1].get_parameter("conv1.weight").mul_(-1)
    base = copy.deepcopy(models[0])
    base.binarization.enable(activations=False, weights=False)

    def run(state: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = functional_call(base, state, (x,))
        return y

    together = vmap(run, in_dims=(0, None))(stacked(models), batch())
    for row, model in zip(together, models, strict=True):
        torch.testing.assert_close(row, model(batch()))
    models[1].binarization.enable(weights=False)
    with pytest.raises(TransformError, match="in different stages"):
        vmap(run, in_dims=(0, None))(stacked(models), batch())


def test_flags_stay_on_the_cpu_in_every_cast_and_move() -> None:
    model = trained().half().to("meta")
    for site in model.binarization.sites.values():
        for flag in (site.activation.enabled, site.activation.scale_initialized, site.weight.enabled):
            assert (flag.device.type, flag.dtype, flag.item()) == ("cpu", torch.float32, 1.0)
    assert model.binarization.stage == fxbin.Stage.BINARIZED
