"""A small network, its schedule, and a training that records what tests compare across ranks."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

import fxbin
from fxbin.binarized.module import BinarizedModule

BATCH = 8
STEPS = 2
CONFIG: dict[str, Any] = {
    "input_info": {"sample_size": [1, 3, 8, 8]},
    "compression": {
        "algorithm": "binarization",
        "params": {
            "activations_quant_start_epoch": 1,
            "weights_quant_start_epoch": 2,
            "lr_poly_drop_start_epoch": 3,
            "lr_poly_drop_duration_epochs": 2,
            "disable_wd_start_epoch": 3,
        },
    },
}
EPOCHS = 4


def network(norm: type[nn.Module] = nn.Identity, parts: Mapping[str, Any] | None = None) -> BinarizedModule:
    """Three convs, the last two with a ReLU in front; the same weights at each call.

    `parts` are the sections `activations` and `weights` of the config.
    """
    config = CONFIG | {"compression": CONFIG["compression"] | (parts or {})}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [
            *(nn.Conv2d(3, 6, 3), norm(6), nn.ReLU()),
            *(nn.Conv2d(6, 6, 3), norm(6), nn.ReLU()),
            *(nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 5)),
        ]
        return fxbin.transform(nn.Sequential(*layers), config)


def batches(epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
    """The batches of `epoch`, of all ranks together."""
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(STEPS):
        x = torch.rand(BATCH, 3, 8, 8, generator=generator)
        yield x, torch.randint(5, (BATCH,), generator=generator)


def own_part(tensor: Tensor) -> Tensor:
    """The share of this rank; all where there is one process."""
    if not distributed.is_initialized():
        return tensor
    return tensor.chunk(distributed.get_world_size())[distributed.get_rank()]


@dataclass
class Run:
    """What a training was like."""

    losses: list[float] = field(default_factory=list)
    """Of each step, over the images of all ranks."""

    states: list[dict[str, Tensor]] = field(default_factory=list)
    """The model's state_dict after each epoch."""

    adam_steps: list[dict[str, int]] = field(default_factory=list)
    """Steps that Adam has counted, for each parameter, after each epoch."""


def train(
    model: BinarizedModule,
    wrapped: nn.Module,
    *,
    epochs: Sequence[int] = range(EPOCHS),
    accumulate: int = 1,
    optimizer: torch.optim.Optimizer | None = None,
) -> Run:
    """Train `wrapped`, which is `model` or holds it, through `epochs`."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
    schedule = fxbin.StagedSchedule(model, optimizer)
    run = Run()
    wrapped.train()
    for epoch in epochs:
        schedule.start_epoch(epoch)
        for step, (x, y) in enumerate(batches(epoch)):
            optimizer.zero_grad()
            run.losses.append(backward(wrapped, own_part(x), own_part(y), accumulate))
            optimizer.step()
            schedule.step((step + 1) / STEPS)
        # A validation through the wrapper: DDP gives all ranks the buffers of rank 0 before each forward.
        wrapped.eval()
        with torch.no_grad():
            wrapped(x)
        wrapped.train()
        run.states.append({name: value.clone() for name, value in model.state_dict().items()})
        run.adam_steps.append(
            {
                name: int(optimizer.state[parameter]["step"]) if optimizer.state[parameter] else 0
                for name, parameter in model.named_parameters()
            }
        )
    return run


def backward(wrapped: nn.Module, x: Tensor, y: Tensor, accumulate: int) -> float:
    """Gradients of the mean loss, from `accumulate` parts; return that loss over all ranks."""
    total = 0.0
    parts = list(zip(x.chunk(accumulate), y.chunk(accumulate), strict=True))
    for index, (part_x, part_y) in enumerate(parts):
        last = index == len(parts) - 1
        with (
            wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) and not last else nullcontext()
        ):
            loss = F.cross_entropy(wrapped(part_x), part_y) / accumulate
            loss.backward()
        total += loss.item()
    mean = torch.tensor(total)
    if distributed.is_initialized():
        distributed.all_reduce(mean)
        mean /= distributed.get_world_size()
    return mean.item()
