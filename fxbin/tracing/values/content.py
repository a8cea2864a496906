"""The error for code that needs the numbers in a tensor."""

from torch import nn

from fxbin.errors import TraceError


class ContentError(TraceError):
    """Code depends on the content of a tensor, which is known only when the model runs."""

    module: nn.Module | None = None
    """The module whose code needs it; None if that is not known yet."""
