"""Where the levels of activations start, and that all ranks start at the same."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from fxbin.binarizers import ActivationBinarizer
from fxbin.binarizers.activation_levels import ActivationLevels, Free, Sign, ZeroScale
from fxbin.binarizers.estimators import ApproxSign
from fxbin.errors import ConfigError

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + torch.tensor([-1.0, 0.0, 2.0]).view(
    3, 1, 1
)

UNKNOWN: Any = "max"


def first_batch(rule: ActivationLevels, *batches: torch.Tensor) -> ActivationBinarizer:
    binarizer = ActivationBinarizer(3, rule, ApproxSign(), init_batches=len(batches))
    binarizer.enable()
    for x in batches:
        binarizer(x)
    assert binarizer.is_scale_initialized
    return binarizer


def test_sign_starts_at_the_mean_of_each_channel_and_the_mean_distance_from_it() -> None:
    threshold, low, high = first_batch(Sign(), X).levels()
    mean = X.mean((0, 2, 3)).view(1, 3, 1, 1)
    assert_close(threshold, mean)
    assert_close(high, (X - mean).abs().mean().view(1))
    assert torch.equal(low, -high)


def test_sign_of_the_paper_starts_at_zero_and_has_levels_of_one() -> None:
    binarizer = first_batch(Sign(shift_init="zero", learned_scale=False), X)
    assert [name for name, _ in binarizer.named_parameters()] == ["shift"]
    threshold, low, high = binarizer.levels()
    assert threshold.count_nonzero() == 0
    assert (low.tolist(), high.tolist()) == ([-1.0], [1.0])


def test_free_levels_start_around_the_mean_of_the_batch() -> None:
    threshold, low, high = first_batch(Free(), X).levels()
    distance = (X - X.mean()).abs().mean()
    assert_close(threshold.view(()), X.mean())
    assert_close(low, (X.mean() - distance).view(1))
    assert_close(high, (X.mean() + distance).view(1))


@pytest.mark.parametrize(
    "rule", [ZeroScale(threshold_init="mse"), Sign(), Free()], ids=lambda r: type(r).__name__
)
@pytest.mark.parametrize(
    "lay_out",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x.repeat_interleave(2, -1)[..., ::2],
    ],
    ids=["channels_last", "transposed", "strided"],
)
def test_the_layout_of_the_first_batch_does_not_matter(
    rule: ActivationLevels, lay_out: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    x = lay_out(X)
    assert not x.is_contiguous()
    for mine, its in zip(first_batch(rule, x).levels(), first_batch(rule, X).levels(), strict=True):
        assert_close(mine, its)


def test_several_batches_start_at_the_mean_of_what_each_would() -> None:
    both = first_batch(Sign(), X, 3 * X)
    alone = [first_batch(Sign(), X), first_batch(Sign(), 3 * X)]
    for mine, *its in zip(*(each.parameters() for each in (both, *alone)), strict=True):
        assert_close(mine, sum(its) / 2)


@pytest.mark.parametrize("rule", [Sign(), Free()], ids=repr)
def test_a_batch_of_equal_values_starts_at_the_scale_of_one_with_a_warning(rule: ActivationLevels) -> None:
    with pytest.warns(UserWarning, match="mean distance 0.0 from the threshold, so the scale starts at 1"):
        binarizer = first_batch(rule, torch.full((2, 3, 4, 4), 0.5))
    assert binarizer.scale.item() == 0.0


def test_a_batch_that_is_not_finite_starts_at_finite_levels() -> None:
    x = X.clone()
    x[0, 1, 0, 0] = math.inf
    with pytest.warns(UserWarning, match="or not finite"):
        levels = first_batch(Sign(), x).levels()
    assert all(level.isfinite().all() for level in levels)
    assert levels.threshold.flatten()[1] == 0


def test_copies_that_have_not_run_get_the_start_of_the_original() -> None:
    import copy

    from fxbin.binarizers import Binarizer

    binarizer = ActivationBinarizer(3, Sign(), ApproxSign())
    copied = copy.deepcopy(binarizer)
    Binarizer.note_copy(binarizer, copied)
    binarizer.note_copy(copied)
    binarizer.enable()
    binarizer(X)
    for mine, its in zip(binarizer.parameters(), copied.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_only_a_part_that_follows_the_progress_has_a_buffer_for_it() -> None:
    from fxbin.binarizers.estimators import EDE

    assert "progress" not in ActivationBinarizer(3).state_dict()
    binarizer = ActivationBinarizer(3, Sign(), EDE())
    binarizer.get_buffer("progress").fill_(0.5)
    state = binarizer.half().state_dict()
    assert state["progress"].dtype == torch.float32  # kept by casts, as the switches are
    other = ActivationBinarizer(3, Sign(), EDE())
    other.load_state_dict(state)
    assert other.current_progress == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(ZeroScale, UNKNOWN), 'ZeroScale.scale_init: got \'max\', expected one of "quantile", "mse"'),
        (partial(Sign, UNKNOWN), 'Sign.shift_init: got \'max\', expected one of "mean", "zero"'),
    ],
)
def test_unknown_starts_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
