"""Warns about exporting or deploying a model whose training is not finished, or has not begun."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fxbin.binarized.state import BinarizationState

ENABLE = "model.binarization.enable(activations=True, weights=True)"
SHOWN = 3
"""Maximum number of call sites that a warning names."""


def warn_if_untrained(state: BinarizationState, names: Sequence[str], used: Sequence[str], done: str) -> None:
    """Warn about call sites that this stage does not binarize, and scales that no training batch has set.

    `names` are all call sites, `used` those whose scales matter; `done` is what happens to them: "exported".
    """
    enabled = {
        name for name, site in state.sites.items() if site.activation.is_enabled and site.weight.is_enabled
    }
    off = [name for name in names if name not in enabled]
    if off:
        _warn(
            f"{len(off)} of {len(names)} selected call sites are not fully binarized at this stage "
            f"({_some(off)}) and are {done} so. Train through the stages first, or call {ENABLE}."
        )
    unset = [name for name in used if _awaits_a_batch(state, name)]
    if unset:
        _warn(
            f"{len(unset)} of {len(names)} activation scales have never seen a training batch "
            f"({_some(unset)}) and are {done} with their initial values. Train first, or run a batch through "
            "the model in train mode."
        )


@contextmanager
def untrained_is_fine() -> Iterator[None]:
    """Hide these warnings, for when only speed matters."""
    with warnings.catch_warnings():
        for told in ("not fully binarized", "never seen a training batch"):
            warnings.filterwarnings("ignore", f".*{told}", UserWarning)
        yield


def _awaits_a_batch(state: BinarizationState, name: str) -> bool:
    binarizer = state.sites[name].activation
    return binarizer.is_enabled and not binarizer.is_scale_initialized


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
