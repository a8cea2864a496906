import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fxbin.binarizers import ActivationBinarizer
from fxbin.binarizers.activation_levels import ZeroScale


def binarizer(channels: int = 3, **options: object) -> ActivationBinarizer:
    made = ActivationBinarizer(channels, ZeroScale("mse", "mse"), **options)  # type: ignore[arg-type]
    made.enable()
    return made


def two_level_value(values: Tensor) -> Tensor:
    s = values[values > 0].mean()
    for _ in range(20):
        s = values[values > s / 2].mean()
    return s


def batch(seed: int = 0) -> Tensor:
    """Channels whose values differ in size, half of them 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 8, 8, generator=generator).relu() * torch.tensor([0.5, 1.0, 1.3]).view(3, 1, 1)


def test_each_bound_is_half_of_what_the_scale_of_its_channel_alone_would_be() -> None:
    x, made = batch(), binarizer()
    made(x)
    bound, _, s = made.levels()
    assert_close(s, two_level_value(x.flatten()).view(1))
    for channel in range(3):
        assert_close(bound[0, channel, 0, 0], two_level_value(x[:, channel].flatten()) / 2)


def test_it_is_the_bound_of_least_squared_error_of_a_channel_with_a_scale_of_its_own() -> None:
    x, made = batch(), binarizer()
    made(x)
    for values, bound in zip(x.movedim(1, 0).flatten(1), made.levels().threshold.flatten(), strict=True):

        def error(bound: Tensor, values: Tensor = values) -> Tensor:
            above = values > bound
            return (values - above * values[above].mean()).square().mean()

        errors = torch.stack([error(candidate) for candidate in torch.linspace(0.01, 1.5, 200)])
        assert error(bound.detach()) <= errors.min() * 1.001


def test_a_picture_without_a_batch_starts_as_a_batch_of_one() -> None:
    x, one, other = batch()[:1], binarizer(), binarizer()
    one(x)
    other(x[0])
    assert torch.equal(one.threshold, other.threshold)


def test_thresholds_start_away_from_where_the_sigmoid_is_flat_and_at_half_where_nothing_is_positive() -> None:
    x, made = torch.ones(2, 5, 4, 4), binarizer(5)
    x *= torch.tensor([0.01, 1.0, 100.0, 0.0, -1.0]).view(5, 1, 1)
    made(x)
    t = made.threshold.sigmoid().flatten()
    # s is 100: the only value above half of itself.
    assert_close(t, torch.tensor([0.1, 0.1, 0.5, 0.5, 0.5]))


def test_a_channel_that_is_not_finite_starts_at_half_the_scale() -> None:
    x, made = batch(), binarizer()
    x[0, 1, 0, 0] = math.inf
    with pytest.warns(UserWarning, match="starts at 1"):
        made(x)
    bound, _, s = made.levels()
    assert_close(bound.flatten()[1], s[0] / 2)
    assert_close(bound.flatten()[2], two_level_value(x[:, 2].flatten()) / 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    x, made, other = batch(), binarizer(), binarizer()
    made(x)
    other(x.to(dtype))
    assert_close(other.threshold, made.threshold, rtol=1e-2, atol=1e-2)


def test_by_default_all_start_at_half_the_scale() -> None:
    made = ActivationBinarizer(3)
    made.enable()
    made(batch())
    assert made.threshold.eq(0).all()


def test_several_batches_end_at_the_mean_of_their_starts() -> None:
    made = binarizer(init_batches=3)
    starts = [binarizer() for _ in range(3)]
    for seed, start in enumerate(starts):
        assert not made.is_scale_initialized
        assert made.batches_seen == seed
        made(batch(seed))
        start(batch(seed))
    assert made.is_scale_initialized
    assert made.scale_initialized.item() == 1
    assert_close(made.scale, torch.stack([start.scale for start in starts]).mean(0))
    assert_close(made.threshold, torch.stack([start.threshold for start in starts]).mean(0))
    before = made.scale.item()
    made(batch(5))
    assert made.scale.item() == before


def test_a_later_batch_moves_what_training_has_made_of_the_start() -> None:
    made, last = binarizer(init_batches=2), binarizer()
    made(batch(0))
    with torch.no_grad():
        made.scale.add_(1)
    trained = made.scale.item()
    made(batch(1))
    last(batch(1))
    assert made.scale.item() == pytest.approx((trained + last.scale.item()) / 2)


def test_how_far_the_start_came_is_in_the_state_dict() -> None:
    whole, part, resumed = (binarizer(init_batches=3) for _ in range(3))
    for seed in range(3):
        whole(batch(seed))
    for seed in range(2):
        part(batch(seed))
    resumed.load_state_dict(part.state_dict())
    assert resumed.batches_seen == 2
    resumed(batch(2))
    assert torch.equal(resumed.scale, whole.scale)
    assert torch.equal(resumed.threshold, whole.threshold)
    resumed.load_state_dict(ActivationBinarizer(3).state_dict())
    assert (resumed.batches_seen, resumed.is_scale_initialized) == (0, False)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_batch_that_checkpointing_runs_again_counts_once(use_reentrant: bool) -> None:
    made, plain = binarizer(init_batches=3), binarizer(init_batches=3)
    for seed in range(2):
        x = batch(seed).requires_grad_()
        y = torch.utils.checkpoint.checkpoint(made, x, use_reentrant=use_reentrant)
        y.square().sum().backward()
        plain(batch(seed)).square().sum().backward()
    assert made.batches_seen == 2
    assert torch.equal(made.scale, plain.scale)
    assert_close(made.scale.grad, plain.scale.grad)
    assert_close(made.threshold.grad, plain.threshold.grad)
