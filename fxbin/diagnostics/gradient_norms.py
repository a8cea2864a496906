"""Norms of the gradients at optimizer steps."""

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from fxbin import torch_private


class GradientNorms:
    """Sums the gradient norms of `parameters` after each step of any optimizer, on their device.

    It reads gradients after the step, when they are accumulated, averaged over ranks, unscaled and clipped as
    the optimizer saw them, even if it computes them itself in a closure.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._ids = dict.fromkeys(id(parameter) for parameter in parameters)
        self._sums: dict[int, Tensor] = {}
        self._steps: dict[int, int] = {}
        own = weakref.ref(self)

        def after_step(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            norms = own()
            if norms is not None:
                norms._add(optimizer)

        # A hook of all optimizers, so that users need not pass theirs. It is removed with this object.
        handle = register_optimizer_step_post_hook(after_step)
        self._stop = weakref.finalize(self, handle.remove)

    def mean(self, parameter: nn.Parameter) -> float | None:
        """Mean norm of the gradient of `parameter` over the steps where it had one; None if it never had."""
        steps = self._steps.get(id(parameter), 0)
        return self._sums[id(parameter)].item() / steps if steps else None

    def reset(self) -> None:
        """Forget all norms so far."""
        self._sums, self._steps = {}, {}

    def state_dict(self) -> dict[int, tuple[Tensor, int]]:
        """Sum and number of the norms of each parameter, by its position."""
        return {
            position: (self._sums[key].clone(), self._steps[key])
            for position, key in enumerate(self._ids)
            if key in self._sums
        }

    def load_state_dict(self, state: Mapping[int, tuple[Tensor, int]]) -> None:
        """Go on with `state`, as `state_dict` returned it for the same parameters."""
        keys = list(self._ids)
        self._sums = {keys[position]: total.clone() for position, (total, _) in state.items()}
        self._steps = {keys[position]: steps for position, (_, steps) in state.items()}

    def close(self) -> None:
        """Remove the hook from the optimizers."""
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
        for key, norm in zip(found, torch_private.foreach_norm(list(found.values())), strict=True):
            self._sums[key] = self._sums[key] + norm if key in self._sums else norm
            self._steps[key] = self._steps.get(key, 0) + 1
