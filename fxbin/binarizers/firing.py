"""Counts of how often binarized activations are high, kept on their device."""

import torch
from torch import Tensor


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
        if self.fired.device != y.device:
            self.fired, self.counted = self.fired.to(y.device), self.counted.to(y.device)
        y = y.detach()
        # Signs of floats are computed and added up several times as fast as truth values. A sum is exact, as
        # float32 counts to 2 ** 24.
        high = y.view(torch.uint8) if y.dtype == torch.bool else y.sign()
        fired = high.sum((-2, -1), dtype=torch.float32).long()
        self.fired.add_(fired.sum(0) if fired.dim() == 2 else fired)
        self.counted.add_(y.numel() // y.shape[-3])

    def reset(self) -> None:
        """Set all counts to zero."""
        self.fired.zero_()
        self.counted.zero_()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()
