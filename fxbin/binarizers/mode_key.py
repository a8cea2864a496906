"""Records in a `state_dict` what a binarizer computes, where the names of its entries do not tell."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fxbin.errors import CheckpointError

MODE_KEY = "mode_"


class RecordsMode(nn.Module):
    """A module whose `state_dict` has a key that names what it computes, such as ``mode_xnor``.

    A state that was saved with something else is recognized, also where the module is a part of a larger one.
    What is computed is in the key, not in the value (always 1), because other code averages, casts and
    copies values.
    """

    mode_key: str | None = None
    """Name of the buffer that is the record, such as ``"mode_xnor"``; empty if there is nothing to record.

    None outside a transformed model, where any state is loaded.
    """

    def keep_mode(self, mode: str, *more: str) -> None:
        """Mark the `state_dict` as that of a module of `mode`; `more` changes the output alone."""
        text = " ".join(filter(None, (mode, *more))).replace("-", " minus ").replace("+", " plus ")
        name = re.sub(r"\W+", "_", text)
        self.mode_key = f"{MODE_KEY}{name}"
        self.register_buffer(self.mode_key, torch.ones(1))

    def check_mode(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Raise CheckpointError if the entries of `state_dict` at `prefix` were saved with another record.

        A state without one, from an old version or from NNCF, counts as one of this module.
        """
        start = f"{prefix}{MODE_KEY}"
        saved = [key.removeprefix(prefix) for key in state_dict if key.startswith(start)]
        if self.mode_key is not None and saved and self.mode_key not in saved:
            was, now = (key.removeprefix(MODE_KEY) for key in (saved[0], self.mode_key))
            here = f"this model has {now!r}" if now else "which this model has not"
            raise CheckpointError(
                f"state_dict: {prefix[:-1]} was saved with {was!r}, {here}: it would compute something else. "
                "Transform with the mode, the weight_scale_axis, the parts and their options, and the "
                "rewrites that it was saved with. If it was saved before rewrites and options were recorded, "
                "leave the record out: {key: x for key, x in state.items() if '.mode_' not in key}."
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        self.check_mode(state_dict, prefix)
        if self.mode_key:
            own = {f"{prefix}{self.mode_key}": getattr(self, self.mode_key)}
            state_dict = {**own, **state_dict}  # so that the key is not reported as missing
        super()._load_from_state_dict(state_dict, prefix, *args)
