"""Training steps through `torch.compile`."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import unwrapped
from fxbin.errors import ConfigError


class CompiledSteps:
    """Compiles a model for training, again in each stage; its parameters and their names stay as they are.

        steps = CompiledSteps(model)
        for epoch in range(90):
            schedule.start_epoch(epoch)
            steps.follow_stage()
            steps.model(x)

    A stage is another computation, so that PyTorch compiles anew when binarizers are switched. It stops to
    compile, without an error, after a number of versions (`torch._dynamo.config.recompile_limit`), so that
    `follow_stage` forgets those of earlier stages. `model` may be wrapped in `DistributedDataParallel`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._inner = unwrapped(model)
        self.model: nn.Module = torch.compile(model)  # type: ignore[assignment]
        self._enabled = self._switches()

    def follow_stage(self) -> None:
        """Forget what was compiled if binarizers were switched since the last call."""
        now = self._switches()
        if now != self._enabled:
            torch.compiler.reset()
        self._enabled = now

    def _switches(self) -> object:
        return self._inner.binarization.enabled if isinstance(self._inner, BinarizedModule) else None


def check_compiler(device: torch.device) -> None:
    """Raise ConfigError if `torch.compile` does not work on `device`, such as without a C++ compiler."""

    def square(x: torch.Tensor) -> torch.Tensor:
        return x * x + 1

    try:
        torch.compile(square)(torch.ones(2, device=device))
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(
            f"compile: torch.compile does not work on {device}: {reason} Install a C++ compiler "
            "(`apt install g++`) for a CPU, or leave the key out."
        ) from error


def parallel_of(model: nn.Module) -> DistributedDataParallel | None:
    """The `DistributedDataParallel` that `model` is, or that was compiled to it; None without one."""
    inner = dict(model.named_children()).get(torch_private.ORIGINAL_MODULE, model)
    return inner if isinstance(inner, DistributedDataParallel) else None
