"""The switch that every binarizer has: a Python bool, mirrored in the state_dict."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from fxbin.binarizers.gradient_mean import GradientMean
from fxbin.followers import check_for_inference, is_proxy, recorded_call


class Binarizer(nn.Module, ABC):
    """A module that binarizes its input while it is enabled, and returns that very input while not.

    `is_enabled` is a Python value, so forward never waits for the device and a compiler can guard on it.
    The buffer `enabled` (int32, ``[1]``) carries it through `state_dict`; loading one sets both.
    Use `enable` and `disable` to change it, never the attribute alone.

    Under torch.distributed the gradients of its parameters, also those that a subclass adds, are means over
    all ranks: see `GradientMean`.
    """

    enabled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        """Call site or parameter this binarizer stands in front of; messages quote it."""
        self.is_enabled = False
        self.gradient_mean = GradientMean()
        """Averages the gradients of its parameters over ranks; in a transformed model all have the same."""
        self.gradient_mean.add(self)
        self.register_buffer("enabled", torch.zeros(1, dtype=torch.int32))

    @abstractmethod
    def binarize(self, x: Tensor) -> Tensor:
        """Return the two-level version of `x`, same shape and dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """Binarize `x` if enabled, else return `x` itself."""
        if is_proxy(x):
            return recorded_call(self, x)  # type: ignore[no-any-return]
        if self.training:
            check_for_inference([self])
        return self.binarize(x) if self.is_enabled else x

    def enable(self) -> None:
        """Binarize from the next forward on."""
        self._switch(True)

    def disable(self) -> None:
        """Pass inputs through from the next forward on."""
        self._switch(False)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As in every module; every way to give it a new parameter comes through here, bar the two below."""
        super().register_parameter(name, param)
        if param is not None:
            self._watch(param)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._parameters)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, parameter in self._parameters.items():
            # Moves keep the object, with its hook, wherever they can.
            if parameter is not None and parameter is not before[name]:
                self._watch(parameter)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copied or unpickled: parameters come without their hooks.
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for parameter in self._parameters.values():
            if parameter is not None:
                self._watch(parameter)
        self.gradient_mean.add(self)

    def share_gradient_mean(self, gradient_mean: GradientMean) -> None:
        """Let `gradient_mean`, which other binarizers share, average over ranks for this one too."""
        self.gradient_mean = gradient_mean
        gradient_mean.add(self)

    def own_start(self) -> Tensor | None:
        """Of what forward sets, in one row, what ranks have yet to agree on; None if there is nothing.

        On each rank there must be the same rows; one without anything of its own gives zeros.
        """
        return None

    def take_start(self, start: Tensor) -> None:
        """Set what `own_start` gave to what the ranks have agreed on."""

    def _watch(self, parameter: nn.Parameter) -> None:
        """Tell `gradient_mean` of each gradient of `parameter`; of a frozen one too, once it is not."""
        trained = parameter.requires_grad
        parameter.requires_grad_(True).register_post_accumulate_grad_hook(self._note_gradient)
        parameter.requires_grad_(trained)

    def _note_gradient(self, _parameter: Tensor) -> None:
        self.gradient_mean.note()

    def _switch(self, on: bool) -> None:
        self.is_enabled = on
        self.enabled.fill_(int(on))

    def read_flags(self) -> None:
        """Set the Python flags from the buffers. Called after a state_dict has been loaded."""
        self.is_enabled = bool(self.enabled.item())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        # From the buffers, not from `state_dict`: an entry of the wrong shape was not loaded. A module
        # on the meta device has no values to read and keeps its Python flags.
        if not self.enabled.is_meta:
            self.read_flags()
