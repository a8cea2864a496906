"""The switch that every binarizer has: a Python bool, mirrored in the state_dict."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Binarizer(nn.Module, ABC):
    """A module that binarizes its input while it is enabled, and returns that very input while not.

    `is_enabled` is a Python value, so forward never waits for the device and a compiler can guard on it.
    The buffer `enabled` (int32, ``[1]``) carries it through `state_dict`; loading one sets both.
    Use `enable` and `disable` to change it, never the attribute alone.
    """

    enabled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        """Call site or parameter this binarizer stands in front of; messages quote it."""
        self.is_enabled = False
        self.register_buffer("enabled", torch.zeros(1, dtype=torch.int32))

    @abstractmethod
    def binarize(self, x: Tensor) -> Tensor:
        """Return the two-level version of `x`, same shape and dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """Binarize `x` if enabled, else return `x` itself."""
        return self.binarize(x) if self.is_enabled else x

    def enable(self) -> None:
        """Binarize from the next forward on."""
        self._switch(True)

    def disable(self) -> None:
        """Pass inputs through from the next forward on."""
        self._switch(False)

    def _switch(self, on: bool) -> None:
        self.is_enabled = on
        self.enabled.fill_(int(on))

    def _read_flags(self) -> None:
        """Set the Python flags from the buffers. Called after a state_dict has been loaded."""
        self.is_enabled = bool(self.enabled.item())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        # From the buffers, not from `state_dict`: an entry of the wrong shape was not loaded. A module
        # on the meta device has no values to read and keeps its Python flags.
        if not self.enabled.is_meta:
            self._read_flags()
