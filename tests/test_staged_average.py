"""An average of parameters that never covers a stage switch."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import ConfigError, TransformError
from tests.transforming import Small, config


def make(init_batches: int = 1) -> fxbin.BinarizedModule:
    torch.manual_seed(0)
    params = {"activation_init_batches": init_batches}
    return fxbin.transform(Small(), config(4, 3, 8, 8, params=params))


def train(model: nn.Module, steps: int, after: Callable[[], None], seed: int = 0) -> list[dict[str, Tensor]]:
    """A few steps of SGD, each followed by `after`; return the parameters after each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = []
    for step in range(steps):
        torch.manual_seed(step)  # for dropout
        x = 4 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed + step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        after()
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
    return seen


def averaged(seen: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """The formula, over parameters of which the first are copied."""
    found = copy.deepcopy(seen[0])
    for n, parameters in enumerate(seen[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        found = {name: d * value + (1 - d) * parameters[name] for name, value in found.items()}
    return found


def close(average: fxbin.StagedAverage, expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(dict(average.network.named_parameters()), expected, rtol=1e-5, atol=1e-6)


def test_average_is_the_formula_and_starts_anew_at_each_switch() -> None:
    model = make()
    average = fxbin.StagedAverage(model, decay=0.3)
    update = lambda: average.update_parameters(model)  # noqa: E731
    close(average, averaged(train(model, 4, update), 0.3))
    for seed, weights in ((10, None), (20, True)):
        model.binarization.enable(activations=True, weights=weights)
        close(average, averaged(train(model, 4, update, seed), 0.3))
        assert average.network.binarization.enabled == model.binarization.enabled
    assert average.n_averaged == 4


def test_average_waits_until_all_batches_have_initialized_the_scales() -> None:
    model = make(init_batches=3)
    average = fxbin.StagedAverage(model, decay=0.9)
    model.binarization.enable(activations=True)
    seen = train(model, 5, lambda: average.update_parameters(model))
    close(average, averaged(seen[2:], 0.9))


def test_saved_average_goes_on_as_if_it_had_not_been_saved() -> None:
    model = make()
    average = fxbin.StagedAverage(model, decay=0.9)
    model.binarization.enable()
    train(model, 3, lambda: average.update_parameters(model))
    resumed = fxbin.StagedAverage(make(), decay=0.9)
    resumed.load_state_dict(copy.deepcopy(average.state_dict()))
    for either in (average, resumed):
        copied = copy.deepcopy(model)
        train(copied, 2, lambda copied=copied, either=either: either.update_parameters(copied))  # type: ignore[misc]
    torch.testing.assert_close(resumed.state_dict(), average.state_dict(), rtol=0, atol=0)


def test_average_with_its_own_statistics_is_evaluated_and_exported() -> None:
    model = make()
    average = fxbin.StagedAverage(model)
    model.binarization.enable()
    train(model, 2, lambda: average.update_parameters(model))
    batches = [torch.rand(4, 3, 8, 8) for _ in range(2)]
    fxbin.reestimate_batch_norm(average.network, batches)
    average.eval()
    assert torch.equal(average(batches[0]), average.network(batches[0]))
    torch.testing.assert_close(fxbin.deploy(average.network)(batches[0]), average(batches[0]))


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(ConfigError, match="decay: expected a number between 0 and 1, both excluded, got 1"):
        fxbin.StagedAverage(make(), decay=1)
    with pytest.raises(TransformError, match=r"StagedAverage: expected a model that fxbin\.transform"):
        fxbin.StagedAverage(nn.Linear(2, 2))


def test_progress_of_a_part_does_not_start_the_average_anew() -> None:
    torch.manual_seed(0)
    given = config(4, 3, 8, 8, params={"activations_quant_start_epoch": 0, "progress_epochs": 2})
    given["compression"]["activations"] = {"levels": "sign", "estimator": "ede"}
    model = fxbin.transform(Small(), given)
    average = fxbin.StagedAverage(model)
    schedule = fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.01))
    schedule.start_epoch(0)
    for step in range(4):
        train(model, 1, lambda: average.update_parameters(model))
        schedule.step((step + 1) / 4)
    progress = [b.get_buffer("progress").item() for b in model.binarization.binarizers if b.follows_progress]
    assert set(progress) == {0.5}
    assert average.n_averaged == 4
