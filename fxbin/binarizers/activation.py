"""Activations as two levels around learned thresholds."""

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarizers.activation_levels import ActivationLevels, ZeroScale
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.estimators import Estimator, Window
from fxbin.binarizers.firing import FiringCount
from fxbin.binarizers.flag import new_flag
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.ranks import rank_count
from fxbin.binarizers.scale_init import has_values
from fxbin.binarizers.straight_through import binarize_activation
from fxbin.binarizers.two_levels import two_levels
from fxbin.errors import ConfigError, TransformError
from fxbin.onlookers import check_can_start, known


class ActivationBinarizer(Binarizer):
    """``y = high`` where x is above the threshold of its channel, else ``low``; all three can be learned.

    `rule` says what the levels are, which parameters they have, and how these start; by default
    `ZeroScale`: 0 and s. `estimator` says what counts as the derivative; by default `Window`. These two
    together are NNCF's binarizer: see `BinarizeActivation` in `fxbin.binarizers.straight_through`. For all
    others, see `TwoLevels` in `fxbin.binarizers.two_levels`.

    The first training batch that is binarized starts the parameters. Until then they have values that do not
    depend on data; forwards in eval mode and empty batches start nothing. With `init_batches` = n, the k-th
    of n batches moves them by 1/k of the way to the values it would set alone: without training in between,
    they end at the mean of the n values (a mean of logarithms and logits, where these are the parameters).
    All parameters always require gradients: while the binarizer is disabled they receive none, so no
    optimizer changes them.

    Shapes: x and y ``(n, c, h, w)`` or ``(c, h, w)``; the threshold ``(1, c, 1, 1)``, a level ``(1,)``.
    Units:  the levels and thresholds have those of x.
    Errors: ConfigError for `init_batches` below 1; TransformError when the input does not have `channels`
            channels on axis -3.
    """

    scale: nn.Parameter
    """Logarithm of the scale of the levels, ``(1,)``; of rules that have one."""

    threshold: nn.Parameter
    """Logits of the thresholds, ``(1, c, 1, 1)``; of the rule `ZeroScale`."""

    scale_initialized: Tensor
    """float32 ``[1]``: 0 before the first batch, 1 after `init_batches`, minus the count in between."""

    flags: ClassVar[tuple[str, ...]] = ("enabled", "scale_initialized")

    def __init__(
        self,
        channels: int,
        rule: ActivationLevels | None = None,
        estimator: Estimator | None = None,
        *,
        lr_multiplier: float | None = None,
        init_batches: int = 1,
    ) -> None:
        super().__init__()
        if init_batches < 1:
            raise ConfigError(f"params.activation_init_batches: expected 1 or more, got {init_batches!r}")
        self.channels = channels
        self.rule = rule or ZeroScale()
        self.estimator = estimator or Window()
        self.is_nncf = type(self.rule) is ZeroScale and self.estimator == Window()
        """Whether levels and gradients are those of NNCF."""
        self.init_batches = init_batches
        self.lr_multiplier = lr_multiplier
        """Factor on the gradients of the levels' parameters (`compression_lr_multiplier`); None means 1."""
        self.firing: FiringCount | None = None
        """Counts the outputs in train mode while `fxbin.Diagnostics` records them; None otherwise."""
        self._started = self._add_parameters(self.rule.parameters(channels))
        """Names of the parameters of the levels."""
        self.copies = Copies()
        self._given_start: Tensor | None = None
        """The values that the original last copied into this copy; None if it never did."""
        self._start_state = 0.0
        """Value of `scale_initialized` at the last read; the next two are the same for compiled code."""
        self._is_scale_initialized = False
        self._batches_seen = 0
        self.starts_alone = False
        """Whether ranks may reach this binarizer in different batches, so that no start waits for others."""
        self.has_started_alone = False
        """Whether the levels come from this rank only, until the end of the next backward."""
        self.register_buffer("scale_initialized", new_flag())
        if self.estimator.follows_progress:
            self.follow_progress()

    def _add_parameters(self, initial: Mapping[str, Tensor]) -> tuple[str, ...]:
        for name, value in initial.items():
            self.register_parameter(name, nn.Parameter(value))
        return tuple(initial)

    @property
    def is_scale_initialized(self) -> bool:
        """Whether the levels have been initialized from `init_batches` batches."""
        if not torch.compiler.is_compiling():
            self._read_start()
        return self._is_scale_initialized

    @property
    def batches_seen(self) -> int:
        """Number of `init_batches` that were used so far, while the levels are being initialized."""
        if not torch.compiler.is_compiling():
            self._read_start()
        return self._batches_seen

    def forward(self, x: Tensor) -> Tensor:
        """Binarize `x` if enabled, else return `x` itself."""
        y = super().forward(x)
        if self.firing is not None and self.is_enabled and self.training and isinstance(y, Tensor):
            self.firing.add(y if self.is_nncf else y > self.levels().low.to(y.dtype))
        return y

    @property
    def awaits_first_batch(self) -> bool:
        """Whether the next batch sets the levels, or moves them as the next one of `init_batches`."""
        # In this order, as it is asked in each forward, and no longer true after the first.
        return self.training and not self.is_scale_initialized and self.is_enabled

    def levels(self) -> Levels:
        """The levels, each ``(1,)``, and the threshold, ``(1, c, 1, 1)`` or ``(1, 1, 1, 1)``."""
        return self.rule.of(self._level_parameters())

    def trained_levels(self) -> Levels:
        """As `levels`, but the gradients of the parameters are multiplied by `lr_multiplier`."""
        return self.rule.of(self._level_parameters(self.lr_multiplier))

    def binarize(self, x: Tensor) -> Tensor:
        """Return `x` with two levels; the first training batch initializes them."""
        self._check_input(x)
        if self.awaits_first_batch and has_values(x, self.starts_alone):
            self.start_from(x)
        # Two levels would hide a NaN, and training would go on with statistics that it has spoilt.
        strict = self.training
        if self.is_nncf:
            multiplier = 1.0 if self.lr_multiplier is None else self.lr_multiplier
            s, t = self.scale.exp(), self.threshold.sigmoid()
            return binarize_activation(x, s, t, multiplier, strict=strict)
        threshold, low, high = self.trained_levels()
        levels = Levels(threshold.view(-1, 1, 1), low, high)  # x may have no batch axis
        return two_levels(
            x,
            levels,
            levels.half_distance,
            self.estimator,
            progress=self.current_progress,
            strict=strict,
        )

    def _level_parameters(self, lr_multiplier: float | None = None) -> Mapping[str, Tensor]:
        """The parameters of the levels; their gradients are multiplied by `lr_multiplier`."""
        found: dict[str, Tensor] = {name: getattr(self, name) for name in self._started}
        if lr_multiplier is None:
            return found
        # The value is exactly that of the parameter, as the difference is 0.
        return {name: p.detach() + (p - p.detach()) * lr_multiplier for name, p in found.items()}

    def extra_repr(self) -> str:
        """Options that the printed model shows."""
        return f"{self.channels}, {self.rule}, {self.estimator}"

    def read_flags(self) -> None:
        """Update the Python attributes from the buffers."""
        super().read_flags()
        self._read_start()

    def _read_start(self) -> None:
        flag = self._buffers["scale_initialized"]
        progress = self._readers["scale_initialized"].read(flag, self._start_state)
        if progress != self._start_state:
            self._start_state = progress
            self._is_scale_initialized, self._batches_seen = progress > 0, max(round(-progress), 0)

    def start_from(self, x: Tensor) -> None:
        """Initialize the levels from the batch `x`, or move them as the next of `init_batches`."""
        check_can_start(self.name)
        # A batch that activation checkpointing computes again, for the backward, has been counted already.
        if self.init_batches > 1 and not torch.compiler.is_compiling() and _is_in_backward():
            return
        if self._is_average_of_started():
            self._note_start(self.init_batches)
            return
        count = self.batches_seen + 1
        with torch.no_grad():
            for name, value in self.rule.start(x.detach(), self.name, self.starts_alone).items():
                _move(getattr(self, name), value, count)
        self.has_started_alone = self.starts_alone and rank_count() > 1
        self._note_start(count)

    def note_copy(self, copied: Binarizer) -> None:
        """Initialize `copied` together with this binarizer: see `_start_copies`."""
        assert isinstance(copied, ActivationBinarizer)
        self.copies.add(copied)

    def own_start(self) -> Tensor | None:
        """Parameters of the levels and `batches_seen` as a row, if only this rank has initialized them.

        Zeros if only another rank may have done so; None if there is nothing to agree on.
        """
        if not (self.starts_alone and self.is_enabled and self._started):
            return None
        row = self._row()
        if self.has_started_alone:
            return torch.cat([row, row.new_tensor([self.batches_seen])])
        return None if self.is_scale_initialized else row.new_zeros(len(row) + 1)

    def take_start(self, start: Tensor) -> None:
        """Set the levels and `batches_seen` to `start`, the mean of the ranks that have them."""
        *values, batches = start.split([*(getattr(self, name).numel() for name in self._started), 1])
        for name, value in zip(self._started, values, strict=True):
            parameter = getattr(self, name)
            parameter.copy_(value.view_as(parameter))
        self.has_started_alone = False
        self._note_start(max(round(batches.item()), 1))

    def _row(self) -> Tensor:
        """The parameters of the levels as one row in float32."""
        values = [getattr(self, name).detach().flatten() for name in self._started]
        return torch.cat(values).float() if values else torch.zeros(0)

    def _note_start(self, count: int) -> None:
        """Record that `count` batches have been used to initialize the levels."""
        self._given_start = None
        self._is_scale_initialized = count >= self.init_batches
        self._batches_seen = count
        self._start_state = 1.0 if self._is_scale_initialized else -float(count)
        self.scale_initialized.fill_(self._start_state)
        if not torch.compiler.is_compiling():
            self._start_copies()

    def _start_copies(self) -> None:
        """Copy the levels to copies of this binarizer that have not been initialized.

        A copy may become an average of this model: an average of values from before and after the
        initialization would be useless.
        """
        for copied in self.copies:
            if not (copied.is_scale_initialized or copied.batches_seen):
                with torch.no_grad():
                    for name in self._started:
                        getattr(copied, name).copy_(getattr(self, name))
                copied._given_start = copied._row()
                copied._start_copies()

    def _is_average_of_started(self) -> bool:
        """Whether the levels differ from the given ones: as this copy has not run, averaging changed them."""
        given = None if torch.compiler.is_compiling() else self._given_start
        return given is not None and not torch.equal(given.to(row := self._row()), row)

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
