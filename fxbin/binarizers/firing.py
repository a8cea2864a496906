"""Counts of how often binarized activations are high, kept on their device."""

import torch
from torch import Tensor

from fxbin.engine.count_high import count_high
from fxbin.engine.library import Engine


class FiringCount:
    """Counts, for each channel, the outputs of an activation binarizer that have the high level.

    The sums stay on the device of the activations, so counting never waits for it. Copying or unpickling
    gives None: a copied model does not count.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.fired = torch.zeros(channels, dtype=torch.int64, device=device)
        self.counted = torch.zeros((), dtype=torch.int64, device=device)
        """Number of values counted in each channel."""

    def add(self, y: Tensor) -> None:
        """Count where `y` is above 0: outputs with a low level of 0, or a mask of those that are high.

        Its shape is ``(n, c, h, w)`` or ``(c, h, w)``.
        """
        y = y.detach()
        # Signs of floats are computed several times as fast as truth values.
        self.add_mask(y.view(torch.uint8) if y.dtype == torch.bool else y.sign())

    def add_mask(self, high: Tensor) -> None:
        """Count where `high` is 1; all else is 0. Its shape is ``(n, c, h, w)`` or ``(c, h, w)``."""
        self._follow(high.device)
        # Floats are added up several times as fast as truth values, and exactly: float32 counts to 2 ** 24.
        fired = high.detach().sum((-2, -1), dtype=torch.float32).long()
        self.fired.add_(fired.sum(0) if fired.dim() == 2 else fired)
        self.counted.add_(high.numel() // high.shape[-3])

    def add_above(self, engine: Engine, x: Tensor, threshold: Tensor) -> None:
        """Count where `x` is above the `threshold` of its channel, in one pass that writes nothing.

        Shapes: x ``(n, c, h, w)``, not empty; threshold ``(1, c, 1, 1)`` or one number; float32 on a CPU.
        """
        self._follow(x.device)
        count_high(engine, x, threshold.detach().expand(1, x.shape[1], 1, 1), self.fired)
        self.counted.add_(x.numel() // x.shape[1])

    def _follow(self, device: torch.device) -> None:
        """Move the counts to `device`, where the activations are now."""
        if self.fired.device != device:
            self.fired, self.counted = self.fired.to(device), self.counted.to(device)

    def reset(self) -> None:
        """Set all counts to zero."""
        self.fired.zero_()
        self.counted.zero_()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()
