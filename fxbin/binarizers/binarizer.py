"""The base class of binarizers: a buffer switches each of them on and off."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import Tensor, nn

from fxbin.binarizers.flag import FlagReader, as_flag, new_flag
from fxbin.binarizers.gradient_mean import GradientMean
from fxbin.binarizers.mode_key import RecordsMode
from fxbin.errors import TransformError
from fxbin.onlookers import is_proxy, program_maker, recorded_call


class Binarizer(RecordsMode, ABC):
    """A module that binarizes its input while it is enabled, and returns the input itself otherwise.

    The buffer `enabled` (float32, ``[1]``, above 0 when enabled) is the switch. Any write to it takes effect
    from the next forward on: `enable` and `disable`, loading a state_dict, writing in place, averaging of
    weights. It stays on the CPU, so that forward never waits for a device. Under torch.compile, which guards
    on Python values, it is read before each call of a compiled model, not inside.

    Under torch.distributed the gradients of its parameters, also those that a subclass adds, are means over
    all ranks: see `GradientMean`.
    """

    enabled: Tensor

    flags: ClassVar[tuple[str, ...]] = ("enabled",)
    """Names of the buffers that forward reads, and that casts and moves leave as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        """Call site or parameter this binarizer is inserted before; messages quote it."""
        self._is_enabled = False
        self._readers = {name: FlagReader() for name in self.flags}
        self.gradient_mean = GradientMean()
        """Averages gradients over ranks; all binarizers of a transformed model share one object."""
        self.gradient_mean.add(self)
        self.register_buffer("enabled", new_flag())

    @property
    def is_enabled(self) -> bool:
        """Whether inputs are binarized."""
        if not torch.compiler.is_compiling():
            self._read_enabled()
        return self._is_enabled

    @abstractmethod
    def binarize(self, x: Tensor) -> Tensor:
        """Return the two-level version of `x`, same shape and dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """Binarize `x` if enabled, else return `x` itself."""
        if is_proxy(x):
            return recorded_call(self, x)  # type: ignore[no-any-return]
        if x is None:
            self.refuse_missing()
        if not self.is_enabled:
            return x
        if self.training:
            check_for_inference([self])
        return self.binarize(x)

    def refuse_missing(self) -> NoReturn:
        """Raise TransformError, as there is None to binarize: a weight that has been removed."""
        raise TransformError(
            f"{self.name or type(self).__name__}: it is None, and a binarized convolution needs it: assign "
            "an nn.Parameter of the shape that it had"
        )

    def enable(self) -> None:
        """Binarize from the next forward on."""
        self._switch(True)

    def disable(self) -> None:
        """Pass inputs through from the next forward on."""
        self._switch(False)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Add `param`, and average its gradients over ranks from now on.

        Every way to give a module a new parameter ends here, except `_apply` and `__setstate__`.
        """
        super().register_parameter(name, param)
        if param is not None:
            self._watch(param)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before, flags = dict(self._parameters), {name: self._buffers[name] for name in self.flags}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._buffers.update(flags)
        for name, parameter in self._parameters.items():
            # Where a move keeps the parameter object, it keeps its hook as well.
            if parameter is not None and parameter is not before[name]:
                self._watch(parameter)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copied or unpickled parameter has lost its hooks.
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for parameter in self._parameters.values():
            if parameter is not None:
                self._watch(parameter)
        self.gradient_mean.add(self)

    def share_gradient_mean(self, gradient_mean: GradientMean) -> None:
        """Let `gradient_mean`, which other binarizers share, average over ranks for this one too."""
        self.gradient_mean = gradient_mean
        gradient_mean.add(self)

    def note_copy(self, copied: "Binarizer") -> None:
        """Take note of `copied`, this binarizer in a copy of the model, which may become an average of it."""

    def own_start(self) -> Tensor | None:
        """Values that forward has set on this rank only, as one row ``(k,)``; None if there are none.

        All ranks must return rows of the same length, or all None; a rank that has set nothing returns zeros.
        """
        return None

    def take_start(self, start: Tensor) -> None:
        """Set the values of `own_start` to `start`, which all ranks have agreed on."""

    def _watch(self, parameter: nn.Parameter) -> None:
        """Call `gradient_mean.note` after each gradient of `parameter`, also if it is frozen for now."""
        trained = parameter.requires_grad
        parameter.requires_grad_(True).register_post_accumulate_grad_hook(self._note_gradient)
        parameter.requires_grad_(trained)

    def _note_gradient(self, _parameter: Tensor) -> None:
        self.gradient_mean.note()

    def follow_progress(self) -> None:
        """Add the buffer `progress`, which a part of this binarizer depends on; `StagedSchedule` sets it.

        It is the share of the training with this binarizer that is over: 0-d, float32, on the CPU.
        """
        if not self.follows_progress:
            self.flags = (*self.flags, "progress")  # type: ignore[misc]  # of this instance alone
            self.register_buffer("progress", torch.zeros(()))

    @property
    def follows_progress(self) -> bool:
        """Whether a part of this binarizer depends on `progress`."""
        return "progress" in self._buffers

    @property
    def current_progress(self) -> Tensor | None:
        """A copy of `progress`, which a schedule may change before the backward; None without one."""
        progress: Tensor | None = self._buffers.get("progress")
        return None if progress is None else progress.clone()

    def _switch(self, on: bool) -> None:
        self._is_enabled = on
        self.enabled.fill_(int(on))

    def read_flags(self) -> None:
        """Update the Python attributes from the buffers; outside of compiled code each forward does so."""
        self._read_enabled()

    def _read_enabled(self) -> None:
        is_enabled = self._readers["enabled"].read(self._buffers["enabled"], self._is_enabled) > 0
        if is_enabled is not self._is_enabled:  # setting an attribute of a module takes longer than the rest
            self._is_enabled = is_enabled

    def _save_to_state_dict(self, *args: Any) -> None:
        if not torch.compiler.is_compiling():
            self.read_flags()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in self.flags:
            self._buffers[name] = as_flag(getattr(self, name))
        self.read_flags()


def check_for_inference(binarizers: Iterable[Binarizer]) -> None:
    """Raise TransformError if a program is being made while one of `binarizers` is on and in train mode."""
    maker = program_maker()
    for binarizer in binarizers:
        if maker and binarizer.is_enabled and binarizer.training:
            raise TransformError(
                f"{maker}: {binarizer.name} is binarized and in train mode, and the recorded program would "
                "have no straight-through gradients and initialize no scale: call eval() first"
            )
