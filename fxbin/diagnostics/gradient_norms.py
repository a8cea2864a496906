"""Norms of the gradients that optimizers step with."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook


class GradientNorms:
    """Adds up, after each step of any optimizer, the gradient norms of some parameters, on their device.

    After the step, so that gradients are accumulated, averaged over ranks, unscaled and clipped as the
    optimizer saw them, also where it computes them itself in a closure.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._ids = {id(parameter) for parameter in parameters}
        self._sums: dict[int, Tensor] = {}
        self._steps: dict[int, int] = {}
        own = weakref.ref(self)

        def after_step(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            norms = own()
            if norms is not None:
                norms._add(optimizer)

        # For all optimizers, so that nobody has to name theirs. It goes when this object goes.
        handle = register_optimizer_step_post_hook(after_step)
        self._stop = weakref.finalize(self, handle.remove)

    def mean(self, parameter: nn.Parameter) -> float | None:
        """The mean over the steps in which `parameter` had a gradient; None if there was none."""
        steps = self._steps.get(id(parameter), 0)
        return self._sums[id(parameter)].item() / steps if steps else None

    def reset(self) -> None:
        """Start anew."""
        self._sums, self._steps = {}, {}

    def close(self) -> None:
        """Take the hook away."""
        self._stop()

    @torch.no_grad()
    def _add(self, optimizer: Optimizer) -> None:
        found: dict[int, Tensor] = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in self._ids and parameter.grad is not None:
                    found[id(parameter)] = parameter.grad
        if not found:
            return
        for key, norm in zip(found, torch._foreach_norm(list(found.values())), strict=True):
            self._sums[key] = self._sums[key] + norm if key in self._sums else norm
            self._steps[key] = self._steps.get(key, 0) + 1
