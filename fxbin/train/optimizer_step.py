"""One optimizer step: precision of the forward, scaled losses, clipped gradients."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fxbin.config.optimization import GradientClip
from fxbin.errors import DataError
from fxbin.train.sharded import limit_norm

Precision = Literal["float32", "bfloat16", "float16"]

LONGEST_SKIP = 30
"""Steps in a row that may be skipped: the first scale of a loss, 2 ** 16, is halved in each."""


class OptimizerStep:
    """Takes losses to an optimizer in the precision and with the limit of gradients that a config says.

        step = OptimizerStep(optimizer, device, "bfloat16", clip)
        with step.forward():
            loss = loss_function(model(x), labels)
        step.backward(loss)
        step.step()

    In ``"bfloat16"`` and ``"float16"``, forward and loss run under `torch.autocast`; parameters, gradients
    and the optimizer stay in their own dtype. In ``"float16"`` losses are scaled, so that small gradients
    stay above 0 (`torch.amp.GradScaler`). A step whose gradients are not finite is left out then, counted in
    `skipped`, and the scale is halved. `clip` limits gradients after that scale is taken away; with
    `is_sharded`, some gradients are shares of `fully_shard`.

    Errors: DataError, in `step`, after `LONGEST_SKIP` skipped steps in a row.
    Source: Micikevicius et al. 2017, arXiv:1710.03740, section 3.2, for the scaled loss.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        device: torch.device | None = None,
        precision: Precision = "float32",
        clip: GradientClip | None = None,
        *,
        is_sharded: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.skipped = 0
        self._device = (device or torch.device("cpu")).type
        self._dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
        self._clip = clip
        self._is_sharded = is_sharded
        self._scaler = torch.amp.GradScaler(self._device) if precision == "float16" else None
        self._in_a_row = 0

    @property
    def may_skip(self) -> bool:
        """Whether a loss that is not finite only skips a step."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[Any]:
        """The context in which forward and loss are computed."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device, self._dtype)

    def logits(self, outputs: Tensor) -> Tensor:
        """What the loss gets for the `outputs` of a forward: float32 instead of 16 bits, which sums need."""
        return outputs if self._dtype is None else outputs.float()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to those of the step."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def step(self) -> bool:
        """Make the step; return whether it was made. It was not if its gradients were not finite."""
        scaler = self._scaler
        if scaler is None:
            self._limit_gradients()
            self.optimizer.step()
            return True
        if self._clip is not None:
            scaler.unscale_(self.optimizer)
            self._limit_gradients()
        before = scaler.get_scale()
        scaler.step(self.optimizer)
        scaler.update()
        made = scaler.get_scale() >= before
        self._in_a_row = 0 if made else self._in_a_row + 1
        self.skipped += not made
        if self._in_a_row >= LONGEST_SKIP:
            raise DataError(
                f'precision: with "float16", the gradients of {LONGEST_SKIP} steps in a row were not finite: '
                'lower base_lr (pretrain.lr in the full-precision phase), or write "bfloat16".'
            )
        return made

    def state_dict(self) -> dict[str, Any] | None:
        """The state of the scaled loss, for a checkpoint; None if losses are not scaled."""
        return None if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore `state`, as `state_dict` returned it."""
        if self._scaler is not None and state is not None:
            self._scaler.load_state_dict(state)

    def _limit_gradients(self) -> None:
        if self._clip is None:
            return
        parameters = list(self._parameters())
        if self._clip.norm is not None:
            limit = limit_norm if self._is_sharded else nn.utils.clip_grad_norm_
            limit(parameters, self._clip.norm)
        else:
            assert self._clip.value is not None
            nn.utils.clip_grad_value_(parameters, self._clip.value)

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]
