"""Activations as two levels, 0 and a learned scale, around learned thresholds."""

import weakref
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.firing import FiringCount
from fxbin.binarizers.flag import new_flag
from fxbin.binarizers.ranks import rank_count
from fxbin.binarizers.scale_init import ScaleInit, has_values, initial_log_scale
from fxbin.binarizers.straight_through import binarize_activation
from fxbin.binarizers.threshold_init import ThresholdInit, initial_threshold_logit
from fxbin.errors import ConfigError, TransformError
from fxbin.onlookers import check_can_start, known


class ActivationBinarizer(Binarizer):
    """``y = s H(x - s t)`` with s = exp(scale), one number, and t = sigmoid(threshold), one per channel of x.

    H is 1 above 0, else 0.

    The first training batch that is binarized initializes `scale`, by the rule `scale_init` (see
    `fxbin.binarizers.scale_init`). `threshold` starts at 0, which puts the bound s t at s / 2, or with
    `threshold_init` ``"mse"`` from the same batch (`fxbin.binarizers.threshold_init`). Until then s = 1;
    forwards in eval mode and empty batches initialize nothing. With `init_batches` = n, the k-th of n batches
    moves both parameters by 1/k of the way to the values it would set alone: without training in between,
    they end at the mean of the n values (a mean of logarithms and logits). Both parameters always require
    gradients: while the binarizer is disabled they receive none, so no optimizer changes them.

    Shapes: x and y ``(n, c, h, w)`` or ``(c, h, w)``; scale ``(1,)``; threshold ``(1, c, 1, 1)``.
    Units:  scale is the log of a value in the units of x, threshold a logit.
    Errors: ConfigError for an unknown `scale_init` or `threshold_init`, or for `init_batches` below 1;
            TransformError when the input does not have `channels` channels on axis -3.
    """

    scale_initialized: Tensor
    """float32 ``[1]``: 0 before the first batch, 1 after `init_batches`, minus the count in between."""

    flags: ClassVar[tuple[str, ...]] = ("enabled", "scale_initialized")

    def __init__(
        self,
        channels: int,
        scale_init: ScaleInit = "quantile",
        lr_multiplier: float | None = None,
        threshold_init: ThresholdInit = "half",
        init_batches: int = 1,
    ) -> None:
        super().__init__()
        _check_choice("activation_scale_init", scale_init, get_args(ScaleInit))
        _check_choice("activation_threshold_init", threshold_init, get_args(ThresholdInit))
        if init_batches < 1:
            raise ConfigError(f"params.activation_init_batches: expected 1 or more, got {init_batches!r}")
        self.channels = channels
        self.scale_init: ScaleInit = scale_init
        self.threshold_init: ThresholdInit = threshold_init
        self.init_batches = init_batches
        self.lr_multiplier = lr_multiplier
        """Factor on the gradients of scale and threshold (`compression_lr_multiplier`); None means 1."""
        self.firing: FiringCount | None = None
        """Counts the outputs in train mode while `fxbin.Diagnostics` records them; None otherwise."""
        self.scale = nn.Parameter(torch.zeros(1))
        self.threshold = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.copies = Copies()
        self._given_scale: Tensor | None = None
        """Value of `scale` that the original last copied into this copy; None if it never did."""
        self._progress = 0.0
        """Value of `scale_initialized` at the last read; the next two are the same for compiled code."""
        self._is_scale_initialized = False
        self._batches_seen = 0
        self.starts_alone = False
        """Whether ranks may reach this binarizer in different batches, so that no start waits for others."""
        self.has_started_alone = False
        """Whether scale and threshold come from this rank only, until the end of the next backward."""
        self.register_buffer("scale_initialized", new_flag())

    @property
    def is_scale_initialized(self) -> bool:
        """Whether scale and threshold have been initialized from `init_batches` batches."""
        if not torch.compiler.is_compiling():
            self._read_progress()
        return self._is_scale_initialized

    @property
    def batches_seen(self) -> int:
        """Number of `init_batches` that were used so far, while `scale` is being initialized."""
        if not torch.compiler.is_compiling():
            self._read_progress()
        return self._batches_seen

    def forward(self, x: Tensor) -> Tensor:
        """Binarize `x` if enabled, else return `x` itself."""
        y = super().forward(x)
        if self.firing is not None and self.is_enabled and self.training and isinstance(y, Tensor):
            self.firing.add(y)
        return y

    @property
    def awaits_first_batch(self) -> bool:
        """Whether the next batch sets `scale`, or moves it as the next one of `init_batches`."""
        return self.training and self.is_enabled and not self.is_scale_initialized

    def levels(self) -> tuple[Tensor, Tensor]:
        """The bound s t, above which the output is high, ``(1, c, 1, 1)``, and that output s, ``(1,)``."""
        s = self.scale.exp()
        return self.threshold.sigmoid() * s, s

    def binarize(self, x: Tensor) -> Tensor:
        """Return `x` with the levels 0 and s; the first training batch initializes s."""
        self._check_input(x)
        if self.awaits_first_batch and has_values(x, self.starts_alone):
            self.start_from(x)
        multiplier = 1.0 if self.lr_multiplier is None else self.lr_multiplier
        s, t = self.scale.exp(), self.threshold.sigmoid()
        # Two levels would hide a NaN, and training would go on with statistics that it has spoilt.
        return binarize_activation(x, s, t, multiplier, strict=self.training)

    def extra_repr(self) -> str:
        """Options that the printed model shows."""
        return f"{self.channels}, scale_init={self.scale_init!r}"

    def read_flags(self) -> None:
        """Update the Python attributes from the buffers."""
        super().read_flags()
        self._read_progress()

    def _read_progress(self) -> None:
        flag = self._buffers["scale_initialized"]
        progress = self._readers["scale_initialized"].read(flag, self._progress)
        if progress != self._progress:
            self._progress = progress
            self._is_scale_initialized, self._batches_seen = progress > 0, max(round(-progress), 0)

    def start_from(self, x: Tensor) -> None:
        """Initialize scale and threshold from the batch `x`, or move them as the next of `init_batches`."""
        check_can_start(self.name)
        # A batch that activation checkpointing computes again, for the backward, has been counted already.
        if self.init_batches > 1 and not torch.compiler.is_compiling() and _is_in_backward():
            return
        if self._is_average_of_started():
            self._note_progress(self.init_batches)
            return
        count = self.batches_seen + 1
        with torch.no_grad():
            log_scale = initial_log_scale(x.detach(), self.scale_init, self.name, self.starts_alone)
            _move(self.scale, log_scale, count)
            if self.threshold_init == "mse":
                start = initial_threshold_logit(x.detach(), log_scale, self.starts_alone)
                _move(self.threshold, start, count)
        self.has_started_alone = self.starts_alone and rank_count() > 1
        self._note_progress(count)

    def note_copy(self, copied: Binarizer) -> None:
        """Initialize `copied` together with this binarizer: see `_start_copies`."""
        assert isinstance(copied, ActivationBinarizer)
        self.copies.add(copied)

    def own_start(self) -> Tensor | None:
        """Scale, threshold and `batches_seen` as a row ``(c + 2,)``, if only this rank has initialized them.

        Zeros if only another rank may have done so; None if there is nothing to agree on.
        """
        if not (self.starts_alone and self.is_enabled):
            return None
        if self.has_started_alone:
            seen = self.scale.new_tensor([self.batches_seen])
            return torch.cat([self.scale, self.threshold.flatten(), seen]).float()
        size = self.channels + 2
        return None if self.is_scale_initialized else self.scale.new_zeros(size, dtype=torch.float32)

    def take_start(self, start: Tensor) -> None:
        """Set scale, threshold and `batches_seen` to `start`, the mean of the ranks that have them."""
        scale, threshold, batches = start.split([1, self.channels, 1])
        self.scale.copy_(scale)
        self.threshold.copy_(threshold.view_as(self.threshold))
        self.has_started_alone = False
        self._note_progress(max(round(batches.item()), 1))

    def _note_progress(self, count: int) -> None:
        """Record that `count` batches have been used to initialize scale and threshold."""
        self._given_scale = None
        self._is_scale_initialized = count >= self.init_batches
        self._batches_seen = count
        self._progress = 1.0 if self._is_scale_initialized else -float(count)
        self.scale_initialized.fill_(self._progress)
        if not torch.compiler.is_compiling():
            self._start_copies()

    def _start_copies(self) -> None:
        """Copy scale and threshold to copies of this binarizer that have not been initialized.

        A copy may become an average of this model: an average of values from before and after the
        initialization would be useless.
        """
        for copied in self.copies:
            if not (copied.is_scale_initialized or copied.batches_seen):
                with torch.no_grad():
                    copied.scale.copy_(self.scale)
                    copied.threshold.copy_(self.threshold)
                copied._given_scale = copied.scale.detach().clone()
                copied._start_copies()

    def _is_average_of_started(self) -> bool:
        """Whether the scale differs from the given one: as this copy has not run, averaging changed it."""
        given = None if torch.compiler.is_compiling() else self._given_scale
        return given is not None and not torch.equal(given.to(self.scale), self.scale)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.has_started_alone = False

    def _check_input(self, x: Tensor) -> None:
        if x.dim() not in (3, 4) or known(x.shape[-3]) != self.channels:
            raise TransformError(
                f"{self.name or 'activation binarizer'}: expected an input (n, {self.channels}, h, w) or "
                f"({self.channels}, h, w), got {tuple(x.shape)}"
            )


class Copies(weakref.WeakSet[ActivationBinarizer]):
    """The copies of a binarizer that still exist. Copying this set gives an empty one: no copy has copies."""

    def __reduce__(self) -> tuple[type["Copies"], tuple[()]]:
        return Copies, ()


def _move(parameter: Tensor, start: Tensor, count: int) -> None:
    """Turn `parameter`, the mean of ``count - 1`` starts, into the mean of those and `start`, in place."""
    if count == 1:
        parameter.copy_(start)
    else:
        parameter.lerp_(start.to(parameter.dtype), 1 / count)


def _is_in_backward() -> bool:
    task: int = torch_private.graph_task_id()
    return task != -1


def _check_choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        expected = " or ".join(f'"{name}"' for name in known)
        raise ConfigError(f"params.{key}: expected {expected}, got {value!r}")
