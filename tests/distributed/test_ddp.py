"""DistributedDataParallel around a transformed model, without find_unused_parameters."""

import copy
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import ignored_by_ddp
from tests.compositions import COMPOSITIONS
from tests.distributed.training import EPOCHS, Run, network, train
from tests.distributed.two_ranks import TwoRanks

OPTIONS: list[dict[str, Any]] = [
    {},
    {"static_graph": True},
    {"gradient_as_bucket_view": True},
    {"find_unused_parameters": True},
    {"bucket_cap_mb": 0.001, "broadcast_buffers": False},
]


def run_with_ddp(options: dict[str, Any], norm: type[nn.Module] = nn.Identity) -> Run:
    model = network(norm)
    return train(model, DistributedDataParallel(model, **options))


def assert_in_step(one: Run, other: Run) -> None:
    """Bit-equal after each epoch, and trained in the stages that train them."""
    for epoch, (state, other_state) in enumerate(zip(one.states, other.states, strict=True)):
        for name, value in state.items():
            assert torch.equal(value, other_state[name]), f"{name} differs after epoch {epoch}"
    for name in ("3.activation_binarizer.scale", "3.activation_binarizer.threshold", "3.weight"):
        assert not torch.equal(one.states[-1][name], one.states[-2][name])
    assert one.losses == other.losses


def assert_same_training(one: Run, other: Run) -> None:
    """Equal but for the order of sums."""
    assert_close(one.losses, other.losses, rtol=0, atol=1e-4)
    assert one.adam_steps == other.adam_steps
    for state, other_state in zip(one.states, other.states, strict=True):
        assert_close(state, other_state, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_ranks_are_bit_equal_and_train_as_one_process_with_the_whole_batch(
    two_ranks: TwoRanks, options: dict[str, Any]
) -> None:
    one, other = two_ranks(run_with_ddp, options)
    assert_in_step(one, other)
    model = network()
    assert_same_training(one, train(model, model))


def run_with_parts(name: str) -> Run:
    model = network(parts=COMPOSITIONS[name])
    return train(model, DistributedDataParallel(model))


@pytest.mark.parametrize("name", ["reactnet", "irnet", "adabin", "recu"])
def test_composed_binarizers_are_bit_equal_and_train_as_one_process(two_ranks: TwoRanks, name: str) -> None:
    one, other = two_ranks(run_with_parts, name)
    assert one.losses == other.losses
    for mine, its in zip(one.states, other.states, strict=True):
        assert all(torch.equal(value, its[key]) for key, value in mine.items())
    learned = [key for key in one.states[0] if key.startswith("3.activation_binarizer.s")]
    assert any(not torch.equal(one.states[-1][key], one.states[0][key]) for key in learned)
    model = network(parts=COMPOSITIONS[name])
    assert_close(one.losses, train(model, model).losses, rtol=0, atol=2e-4)


def test_binarizers_do_not_count_optimizer_steps_while_they_are_disabled(two_ranks: TwoRanks) -> None:
    run, _ = two_ranks(run_with_ddp, {})
    steps = [steps["3.activation_binarizer.scale"] for steps in run.adam_steps]
    assert steps == [0, 2, 4, 6]


def test_batch_norm_has_the_buffers_of_rank_0(two_ranks: TwoRanks) -> None:
    assert_in_step(*two_ranks(run_with_ddp, {}, nn.BatchNorm2d))


def with_started_scales() -> BinarizedModule:
    """Without the start of the scales, which is a statistic of the first part of an accumulated batch."""
    model = network()
    state = model.state_dict()
    state |= {name: torch.ones(1) for name in state if name.endswith("scale_initialized")}
    model.load_state_dict(state)
    return model


def run_accumulating() -> Run:
    model = with_started_scales()
    return train(model, DistributedDataParallel(model), accumulate=2)


def test_accumulation_with_no_sync_trains_as_the_whole_batch(two_ranks: TwoRanks) -> None:
    one, other = two_ranks(run_accumulating)
    assert_in_step(one, other)
    model = with_started_scales()
    assert_same_training(one, train(model, model))


def run_wrapped_late(epoch: int) -> Run:
    """DDP is built when the stage of `epoch` is on already, of a copy, and goes back to full precision."""
    model = network()
    fxbin.StagedSchedule(model, torch.optim.Adam(model.parameters())).start_epoch(epoch)
    model = copy.deepcopy(model)
    return train(model, DistributedDataParallel(model), epochs=(epoch, 0, 1, 3, 3))


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_ddp_may_be_built_after_a_switch(two_ranks: TwoRanks, epoch: int) -> None:
    assert_in_step(*two_ranks(run_wrapped_late, epoch))


def run_nested() -> Run:
    model = network()
    whole = nn.Sequential(model, nn.ReLU())
    whole._ddp_params_and_buffers_to_ignore = ignored_by_ddp(whole)  # type: ignore[assignment]
    assert "0.3.activation_binarizer.scale" in ignored_by_ddp(whole)
    return train(model, DistributedDataParallel(whole))


def test_ddp_may_hold_it_inside_another_module(two_ranks: TwoRanks) -> None:
    assert_in_step(*two_ranks(run_nested))


def load_on_rank_0() -> Run:
    model = network()
    if torch.distributed.get_rank() == 0:
        state = with_started_scales().state_dict()
        state |= {name: torch.ones(1) for name in state if name.endswith("activation_binarizer.enabled")}
        state["3.activation_binarizer.scale"].fill_(-0.7)
        model.load_state_dict(state)
    return train(model, DistributedDataParallel(model), epochs=(1, 3))


def test_a_state_dict_loaded_on_rank_0_only_reaches_all(two_ranks: TwoRanks) -> None:
    assert_in_step(*two_ranks(load_on_rank_0))


STAGES = (0, 1, 3)


def run_compiled(order: str) -> Run:
    torch.compiler.reset()
    model = network()
    if order == "model":
        wrapped = DistributedDataParallel(torch.compile(model, fullgraph=True, backend="eager"))
    else:
        # The wrapper's own code has graph breaks.
        wrapped = cast(
            "DistributedDataParallel", torch.compile(DistributedDataParallel(model), backend="eager")
        )
    return train(model, wrapped, epochs=STAGES)


@pytest.mark.parametrize("order", ["model", "wrapper"])
def test_compiled_ranks_are_bit_equal_and_train_as_one_process(two_ranks: TwoRanks, order: str) -> None:
    one, other = two_ranks(run_compiled, order)
    assert_in_step(one, other)
    model = network()
    assert_same_training(one, train(model, model, epochs=STAGES))
