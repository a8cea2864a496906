"""The errors that fxbin raises on purpose; all derive from `FxbinError`.

Each also derives from the built-in type that a caller would expect, so that code with `except ValueError`
catches it without knowing about fxbin.
"""

from typing import Any

from fxbin import torch_private


class FxbinError(Exception):
    """Base of all errors that fxbin raises on purpose."""

    def __str__(self) -> str:
        """The message, without the lines about a node that torch.fx appends if it interprets a graph."""
        return super().__str__().partition(torch_private.NODE_APPENDED)[0]


class ConfigError(FxbinError, ValueError):
    """A config that cannot be read, or a key or value in it that is not understood."""


class ScopeError(FxbinError, ValueError):
    """A pattern in `ignored_scopes` or `target_scopes` that is invalid or matches nothing."""


class TraceError(FxbinError, RuntimeError):
    """A model that can be neither traced nor run, or an input that its graph is not valid for."""

    reason: str = ""
    """What stood in the way and where, without advice."""


class TorchVersionError(FxbinError, RuntimeError):
    """A version of torch in which fxbin would not see all that a model does."""


class TransformError(FxbinError, ValueError):
    """A model that cannot be binarized or used as asked, such as one that `transform` did not return."""


class ExportError(FxbinError, RuntimeError):
    """A model that cannot be exported as asked."""


class VerificationError(FxbinError, RuntimeError):
    """An exported file that does not do, in a runtime, what was promised of it."""

    report: Any = None
    """The `fxbin.openvino.VerifyReport`; None if the error came before there was one."""


class EngineError(FxbinError, RuntimeError):
    """The 1-bit engine cannot be built, or was asked for what it does not compute."""


class CheckpointError(FxbinError, RuntimeError):
    """A checkpoint that is unreadable or does not fit the model."""


class DataError(FxbinError, RuntimeError):
    """A data set that is missing or not in the expected format."""
