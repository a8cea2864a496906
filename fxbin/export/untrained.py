"""Warns about exporting a model whose training is not finished, or has not begun."""

import warnings
from collections.abc import Sequence

from fxbin.binarized.state import BinarizationState
from fxbin.export.report import ExportMode, SiteExport

ENABLE = "model.binarization.enable(activations=True, weights=True)"
SHOWN = 3
"""Maximum number of call sites that a warning names."""


def warn_if_untrained(state: BinarizationState, sites: Sequence[SiteExport]) -> None:
    """Warn about call sites that are not binarized at this stage, and about uninitialised scales."""
    off = [site.name for site in sites if not site.enabled]
    if off:
        _warn(
            f"{len(off)} of {len(sites)} selected call sites are not fully binarized at this stage "
            f"({_some(off)}) and are exported so. Train through the stages first, or call {ENABLE}."
        )
    in_file = [site.name for site in sites if site.mode is not ExportMode.LEFT_OUT]
    unset = [name for name in in_file if _awaits_a_batch(state, name)]
    if unset:
        _warn(
            f"{len(unset)} of {len(sites)} activation scales have never seen a training batch "
            f"({_some(unset)}) and are exported as they were made. Train first, or run a batch through the "
            "model in train mode."
        )


def _awaits_a_batch(state: BinarizationState, name: str) -> bool:
    binarizer = state.sites[name].activation
    return binarizer.is_enabled and not binarizer.is_scale_initialized


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
