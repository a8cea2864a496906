"""Checks that losses are finite, without waiting for a GPU in each step."""

import time

import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import unwrapped
from fxbin.diagnostics.nonfinite import first_nonfinite
from fxbin.errors import DataError
from fxbin.train.meter import PAUSE


class FiniteLosses:
    """Raises DataError for a loss that is not finite: at once on a CPU, within `PAUSE` on another device.

    Losses on a GPU are computed while Python is ahead already, so that looking at each would stop the
    training from going on. On a CPU the network is still as it was before the step, and the message names
    the layer where the first such value comes from.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, Tensor]] = []
        self._looked = time.monotonic()

    def add(self, loss: Tensor, batch: int, model: nn.Module, x: Tensor) -> None:
        """Check the `loss` of `x`, batch number `batch`, or note it for later."""
        if loss.device.type == "cpu":
            if not torch.isfinite(loss):
                raise _error(loss.item(), batch, begins_in(model, x))
            return
        self._losses.append((batch, loss.detach()))
        if time.monotonic() - self._looked > PAUSE:
            self.check()

    def check(self) -> None:
        """Raise DataError if one of the losses noted since the last check is not finite."""
        noted, self._losses = self._losses, []
        if noted:
            values = torch.stack([loss for _, loss in noted]).tolist()
            for (batch, _), value in zip(noted, values, strict=True):
                if not torch.isfinite(torch.tensor(value)):
                    raise _error(value, batch, "")
        self._looked = time.monotonic()


def _error(value: float, batch: int, where: str) -> DataError:
    return DataError(
        f"the loss became {value} in batch {batch}{where}: "
        "lower base_lr (pretrain.lr in the full-precision phase)."
    )


def begins_in(model: nn.Module, x: Tensor) -> str:
    """For an error message: where in a transformed model `x` gives the first value that is not finite."""
    inner = unwrapped(model)
    found = first_nonfinite(inner, x) if isinstance(inner, BinarizedModule) else None
    return f" (the first value that is not finite is in {found})" if found else ""
