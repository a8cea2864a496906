"""fully_shard (FSDP2) of a transformed model: what works, and what is refused."""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

import fxbin
from fxbin.errors import TransformError
from tests.distributed.training import Run, network, train
from tests.distributed.two_ranks import TwoRanks


def run_sharded(reshard_after_forward: bool) -> Run:
    model = network()
    mesh = init_device_mesh("cpu", (2,))
    binarizers = set(model.binarization.parameters())
    # A layer that the graph calls may be a unit of its own.
    fully_shard(model.get_submodule("8"), mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=binarizers, reshard_after_forward=reshard_after_forward)
    assert isinstance(model.get_parameter("3.weight"), DTensor)
    run = train(model, model)
    for state in run.states:
        state.update(
            {name: value.full_tensor() for name, value in state.items() if isinstance(value, DTensor)}
        )
    return run


def test_sharded_as_a_whole_it_trains_as_one_process(two_ranks: TwoRanks) -> None:
    for reshard_after_forward in (True, False):
        one, other = two_ranks(run_sharded, reshard_after_forward)
        model = network()
        alone = train(model, model)
        assert one.losses == other.losses
        assert_close(one.losses, alone.losses, rtol=0, atol=1e-4)
        assert one.adam_steps == alone.adam_steps
        for state, other_state, expected in zip(one.states, other.states, alone.states, strict=True):
            assert_close(state, other_state, rtol=0, atol=0)
            assert_close(state, expected, rtol=1e-3, atol=1e-3)


def refusals() -> list[str]:
    mesh = init_device_mesh("cpu", (2,))
    with_binarizers, part = network(), network()
    fully_shard(with_binarizers, mesh=mesh)
    fully_shard(part.get_submodule("3"), mesh=mesh)
    flat = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    return [why_refused(model) for model in (with_binarizers, part, flat)]


def why_refused(model: nn.Module) -> str:
    try:
        fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.1))
    except TransformError as error:
        return str(error)
    return ""


def test_what_cannot_train_is_refused_with_the_way_out(two_ranks: TwoRanks) -> None:
    (with_binarizers, part, flat), _ = two_ranks(refusals)
    assert "0.activation_binarizer.scale is sharded" in with_binarizers
    assert "ignored_params=set(model.binarization.parameters())" in with_binarizers
    assert "'3' is part of a transformed model" in part
    assert "FullyShardedDataParallel" in flat
    assert "fully_shard" in flat
