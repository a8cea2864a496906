"""The progress of a training, which some estimators and transformations of weights depend on."""

import json

from fxbin.binarized.state import BinarizationState
from fxbin.binarizers import Binarizer
from fxbin.config import Binarization, Params
from fxbin.errors import ConfigError

ENDS = ("progress_epochs", "lr_poly_drop_start_epoch")
"""The keys of `compression.params` that say when the progress ends."""


def check_progress(state: BinarizationState, params: Params) -> None:
    """Raise ConfigError if a binarizer depends on the progress, and `params` do not say when it ends."""
    follower = next((b for b in state.binarizers if b.follows_progress), None)
    if follower is not None and _is_endless(params):
        changing = _changing(state.config.binarization)
        raise _endless(changing or f"the {type(follower).__name__} of {follower.name}")


def check_progress_of(section: Binarization) -> None:
    """Raise ConfigError as `check_progress` does, without a model: for the parts that `section` names."""
    if section.changing_parts and _is_endless(section.params):
        raise _endless(_changing(section))


def _is_endless(params: Params) -> bool:
    return all(getattr(params, key) is None for key in ENDS)


def _changing(section: Binarization) -> str:
    """The parts that change from epoch to epoch, with their keys; empty if the config names none."""
    return ", ".join(f"compression.{key} {json.dumps(name)}" for key, name in section.changing_parts.items())


def _endless(changing: str) -> ConfigError:
    return ConfigError(
        "compression.params.progress_epochs: is missing, expected the number of epochs over which this "
        f"changes: {changing}. Add it, or lr_poly_drop_start_epoch, with whose decay of the learning rate "
        "the change ends then. `fxbin train` resumes a run that has not begun its stages with either."
    )


def set_progress(state: BinarizationState, params: Params, epoch: float) -> None:
    """Set `progress` of all binarizers that have it for `epoch`, which counts a part of an epoch as well.

    It grows evenly from 0 at the epoch from which a kind is binarized to 1 after `progress_epochs`, by
    default at the end of the decay of the learning rate.
    """
    for site in state.sites.values():
        _set(site.activation, params, params.activations_quant_start_epoch, epoch)
        _set(site.weight, params, params.weights_quant_start_epoch, epoch)


def _set(binarizer: Binarizer, params: Params, start: float, epoch: float) -> None:
    if binarizer.follows_progress:
        length = params.progress_epochs
        if length is None:
            assert params.lr_poly_drop_start_epoch is not None
            length = params.lr_poly_drop_start_epoch + params.lr_poly_drop_duration_epochs - start
        share = (epoch - start) / length if length > 0 else 1.0
        binarizer.get_buffer("progress").fill_(min(max(share, 0.0), 1.0))
