"""Checks that losses are finite, without waiting for a GPU in each step."""

import math
import time

import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import unwrapped
from fxbin.diagnostics.nonfinite import first_nonfinite
from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.reader import NOT_FINITE
from fxbin.train.meter import PAUSE


class FiniteLosses:
    """Raises DataError for a loss that is not finite: at once on a CPU, within `PAUSE` on another device.

    Losses on a GPU are computed while Python is ahead already, so that looking at each would stop the
    training from going on. On a CPU the network is still as it was before the step, and the message names
    the layer where the first such value comes from. If the inputs are not finite, it says that instead.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, Tensor, Tensor]] = []
        self._looked = time.monotonic()

    def add(self, loss: Tensor, batch: int, model: nn.Module, x: Tensor) -> None:
        """Check the `loss` of `x`, batch number `batch`, or note it for later."""
        if loss.device.type == "cpu":
            if not torch.isfinite(loss):
                raise _error(loss.item(), batch, torch.isfinite(x).flatten(1).all(1), begins_in(model, x))
            return
        # Of each picture whether it is finite, as the inputs themselves would take memory until then.
        self._losses.append((batch, loss.detach(), torch.isfinite(x).flatten(1).all(1)))
        if time.monotonic() - self._looked > PAUSE:
            self.check()

    def check(self) -> None:
        """Raise DataError if one of the losses noted since the last check is not finite."""
        noted, self._losses = self._losses, []
        if noted:
            values = torch.stack([loss for _, loss, _ in noted]).tolist()
            for (batch, _, finite), value in zip(noted, values, strict=True):
                if not math.isfinite(value):
                    raise _error(value, batch, finite)
        self._looked = time.monotonic()


def _error(value: float, batch: int, finite: Tensor, where: str = "") -> DataError:
    """The error about the loss of a batch; `finite` tells of each picture whether it is."""
    bad = [str(position + 1) for position in (~finite).nonzero().flatten().tolist()]
    if bad:
        pictures = f"picture{'s' if len(bad) > 1 else ''} {listed(bad)} of {len(finite)}"
        return DataError(f"data: batch {batch} of the training, {pictures}: {NOT_FINITE}")
    return DataError(
        f"the loss became {value} in batch {batch}{where}: "
        "lower base_lr (pretrain.lr in the full-precision phase)."
    )


def begins_in(model: nn.Module, x: Tensor) -> str:
    """For an error message: where in a transformed model `x` gives the first value that is not finite."""
    inner = unwrapped(model)
    found = first_nonfinite(inner, x) if isinstance(inner, BinarizedModule) else None
    return f" (the first value that is not finite is in {found})" if found else ""
