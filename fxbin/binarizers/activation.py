"""Activations as two levels, 0 and a learned scale, around learned thresholds."""

from typing import get_args

import torch
from torch import Tensor, nn

from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.scale_init import ScaleInit, has_values, initial_log_scale
from fxbin.binarizers.straight_through import binarize_activation
from fxbin.errors import ConfigError, TransformError


class ActivationBinarizer(Binarizer):
    """``y = s H(x - s t)`` with s = exp(scale), one number, and t = sigmoid(threshold), one per channel of x.

    `scale` starts from the first training batch that is binarized, by the rule `scale_init` (see
    `fxbin.binarizers.scale_init`), so `threshold` = 0 starts at s / 2. Until then s = 1; forwards in eval
    mode and empty batches do not initialise. Both parameters require gradients at all times: while the
    binarizer is disabled they get none, and no optimizer touches them.

    Shapes: x and y ``(n, c, h, w)`` or ``(c, h, w)``; scale ``(1,)``; threshold ``(1, c, 1, 1)``.
    Units:  scale is the log of a value in the units of x, threshold a logit.
    Errors: ConfigError for another `scale_init`; TransformError when the input does not have `channels`
            channels on axis -3.
    """

    scale_initialized: Tensor

    def __init__(
        self, channels: int, scale_init: ScaleInit = "quantile", lr_multiplier: float | None = None
    ) -> None:
        super().__init__()
        if scale_init not in get_args(ScaleInit):
            raise ConfigError(
                f'params.activation_scale_init: expected "quantile" or "mse", got {scale_init!r}'
            )
        self.channels = channels
        self.scale_init: ScaleInit = scale_init
        self.lr_multiplier = lr_multiplier
        """Factor on the gradients of scale and threshold (`compression_lr_multiplier`); None means 1."""
        self.scale = nn.Parameter(torch.zeros(1))
        self.threshold = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.is_scale_initialized = False
        self.register_buffer("scale_initialized", torch.zeros(1, dtype=torch.int32))

    @property
    def awaits_first_batch(self) -> bool:
        """Whether the next batch sets `scale`."""
        return self.is_enabled and self.training and not self.is_scale_initialized

    def levels(self) -> tuple[Tensor, Tensor]:
        """The bound s t, above which the output is high, ``(1, c, 1, 1)``, and that output s, ``(1,)``."""
        s = self.scale.exp()
        return self.threshold.sigmoid() * s, s

    def binarize(self, x: Tensor) -> Tensor:
        """Return `x` with the levels 0 and s; the first training batch initialises s."""
        self._check_input(x)
        if self.awaits_first_batch and has_values(x):
            self._initialize_scale(x)
        multiplier = 1.0 if self.lr_multiplier is None else self.lr_multiplier
        s, t = self.scale.exp(), self.threshold.sigmoid()
        # Two levels would hide a NaN, and training would go on with statistics that it has spoilt.
        return binarize_activation(x, s, t, multiplier, strict=self.training)

    def extra_repr(self) -> str:
        """What the printed model shows."""
        return f"{self.channels}, scale_init={self.scale_init!r}"

    def _initialize_scale(self, x: Tensor) -> None:
        with torch.no_grad():
            self.scale.copy_(initial_log_scale(x.detach(), self.scale_init, self.name))
        self.scale_initialized.fill_(1)
        self.is_scale_initialized = True

    def read_flags(self) -> None:
        """Set `is_enabled` and `is_scale_initialized` from the buffers."""
        super().read_flags()
        self.is_scale_initialized = bool(self.scale_initialized.item())

    def _check_input(self, x: Tensor) -> None:
        if x.dim() not in (3, 4) or x.shape[-3] != self.channels:
            raise TransformError(
                f"{self.name or 'activation binarizer'}: expected an input (n, {self.channels}, h, w) or "
                f"({self.channels}, h, w), got {tuple(x.shape)}"
            )
