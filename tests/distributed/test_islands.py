"""Two ranks with islands, whose code calls layers depending on the content of each rank's own batch."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import fxbin
from fxbin.binarized.module import BinarizedModule
from tests.distributed.training import CONFIG, EPOCHS, Run, train
from tests.distributed.two_ranks import TwoRanks


class Deciding(nn.Module):
    """Calls `sometimes` if the first number says so: another one on each rank."""

    bound = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.sometimes = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if x.flatten()[0] > self.bound:
            y = self.sometimes(y)
        z: Tensor = self.fc(y.mean((2, 3)))
        return z


class Around(nn.Module):
    """A graph with such a module in it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.deciding = nn.Conv2d(3, 5, 3), Deciding()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.deciding(x) + F.relu(self.conv(x)).mean((2, 3))
        return y


def model_of(kind: type[nn.Module], **params: Any) -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        section: dict[str, Any] = CONFIG["compression"]
        config = {**CONFIG, "compression": {**section, "params": {**section["params"], **params}}}
        return fxbin.transform(kind(), config, (torch.ones(1, 3, 8, 8),))


def run_with_ddp(
    kind: type[nn.Module], bound: float, params: dict[str, Any], *, compiles: bool = False
) -> tuple[Run, int]:
    """The run, and how often `sometimes` was called."""
    model = model_of(kind, **params)
    Deciding.bound = bound
    called: list[nn.Module] = []
    (part,) = (model.get_submodule(path) for path in model.traced_parts if path.endswith("sometimes"))
    part.register_forward_pre_hook(lambda module, args: called.append(module))
    torch.compiler.reset()
    wrapped = torch.compile(model, backend="eager") if compiles else model
    run = train(model, DistributedDataParallel(wrapped, find_unused_parameters=True))
    return run, len(called)


def run_compiled(kind: type[nn.Module], bound: float, params: dict[str, Any]) -> tuple[Run, int]:
    return run_with_ddp(kind, bound, params, compiles=True)


def assert_bit_equal(runs: Sequence[Run]) -> None:
    one, other = runs
    assert one.losses == other.losses
    assert one.adam_steps == other.adam_steps
    for epoch, (state, other_state) in enumerate(zip(one.states, other.states, strict=True)):
        for name, value in state.items():
            assert torch.equal(value, other_state[name]), f"{name} differs after epoch {epoch}"


@pytest.mark.parametrize("kind", [Deciding, Around])
@pytest.mark.parametrize(
    ("bound", "params"),
    [
        (0.5, {}),
        (0.5, {"activation_threshold_init": "mse", "activation_init_batches": 3}),
        (-1.0, {"activation_scale_init": "mse"}),
    ],
    ids=["on some ranks", "from several batches", "always"],
)
def test_ranks_stay_bit_equal_whatever_each_of_them_calls(
    two_ranks: TwoRanks, kind: type[nn.Module], bound: float, params: dict[str, Any]
) -> None:
    (one, calls), (other, other_calls) = two_ranks(run_with_ddp, kind, bound, params)
    assert_bit_equal([one, other])
    assert (calls == other_calls) == (bound < 0)
    first, last = one.states[0], one.states[-1]
    scales = [name for name in last if name.endswith("activation_binarizer.scale")]
    assert len(scales) == 2 + (kind is Around)
    for name in scales:
        assert not torch.equal(first[name], last[name]), name
        assert one.adam_steps[-1][name] > 0
    assert len(one.states) == EPOCHS
    started = [value.item() for name, value in last.items() if name.endswith("scale_initialized")]
    assert all(value == 1 for value in started)


def test_start_that_a_rank_makes_alone_in_front_of_compiled_code_is_that_of_all(two_ranks: TwoRanks) -> None:
    runs = two_ranks(run_compiled, Deciding, 0.5, {})
    assert_bit_equal([run for run, _ in runs])


def run_sharded() -> Run:
    Deciding.bound = -1.0
    model = model_of(Deciding)
    mesh = init_device_mesh("cpu", (2,))
    binarizers = set(model.binarization.parameters())
    fully_shard(model.get_submodule("stem"), mesh=mesh, ignored_params=binarizers)
    fully_shard(model, mesh=mesh, ignored_params=binarizers)
    assert isinstance(model.get_submodule("stem"), FSDPModule)
    assert isinstance(model.get_parameter("stem.0.weight"), DTensor)
    run = train(model, model)
    for state in run.states:
        whole = {name: value.full_tensor() for name, value in state.items() if isinstance(value, DTensor)}
        state |= whole
        # As ever with FSDP, each rank keeps running statistics of its own.
        for name in [name for name in state if "running" in name]:
            del state[name]
    return run


def test_parts_may_be_sharded_one_by_one(two_ranks: TwoRanks) -> None:
    assert_bit_equal(two_ranks(run_sharded))
