"""Training with parameters, gradients and optimizer state divided among the processes (FSDP2)."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers.ranks import rank_count


class ShardedModel:
    """Divides the parameters of a model among the processes, and has a whole copy to evaluate and to save.

        sharded = ShardedModel(model)
        optimizer = torch.optim.Adam(model.parameters())  # of the parts that belong to this process
        ...
        sharded.gather()
        sharded.whole(x)

    `model` is one unit of `torch.distributed.fsdp.fully_shard`, as its graph calls its layers directly: while
    a forward and its backward run, each process has all parameters, and otherwise a share of them, of their
    gradients and of what the optimizer keeps. Scales and thresholds stay whole. All processes must make it,
    with the same weights, and call `gather` together. `whole` is on the CPU between evaluations.
    """

    def __init__(self, model: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        device = next(model.parameters()).device
        self.model = model
        self.whole = copy.deepcopy(model).cpu()
        self._device = device
        binarizers = set(model.binarization.parameters()) if isinstance(model, BinarizedModule) else None
        fully_shard(model, mesh=init_device_mesh(device.type, (rank_count(),)), ignored_params=binarizers)

    @torch.no_grad()
    def gather(self) -> nn.Module:
        """Give `whole` the parameters and buffers that the model has now; return it."""
        self.whole.load_state_dict(whole_values(self.model.state_dict()))
        return self.whole

    @contextmanager
    def evaluated(self) -> Iterator[nn.Module]:
        """The whole model as it is now, on its device while this block runs; all processes must enter it."""
        yield self.gather().to(self._device)
        self.whole.cpu()


def whole_values(value: Any) -> Any:
    """`value`, a state_dict or a part of one, with whole tensors on the CPU instead of shares.

    All processes must call it with states of the same structure.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(value, DTensor):
        return value.full_tensor().detach().cpu()
    if isinstance(value, Mapping):
        return {key: whole_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole_values(inner) for inner in value)
    return value.detach().cpu() if isinstance(value, Tensor) else value


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the state_dict `state`, which has whole tensors, into `optimizer`, whose parameters are shares."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def share(index: int, value: Any) -> Any:
        own = parameters[index]
        if isinstance(own, DTensor) and isinstance(value, Tensor) and value.shape == own.shape:
            return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
        return value

    shares = {
        index: {name: share(index, value) for name, value in kept.items()}
        for index, kept in state["state"].items()
    }
    optimizer.load_state_dict({"state": shares, "param_groups": state["param_groups"]})


def limit_norm(parameters: list[nn.Parameter], largest: float) -> None:
    """Scale the gradients of `parameters`, whole and shares, down if the norm of all is above `largest`."""
    from torch.distributed.tensor import DTensor

    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    kinds = [[g for g in gradients if isinstance(g, DTensor) == shared] for shared in (True, False)]
    norms = [nn.utils.get_total_norm(found) for found in kinds if found]
    whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    total = torch.linalg.vector_norm(torch.stack(whole))
    for gradient in gradients:
        gradient.mul_((largest / (total + 1e-6)).clamp(max=1.0))
