"""The device on which a run trains."""

import torch

from fxbin.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device that the config key `device` names; ``"auto"`` uses a GPU if there is one.

    Raises ConfigError for ``"cuda"`` without a GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' is not available here, use 'cpu' or 'auto'.")
    return torch.device(name)
