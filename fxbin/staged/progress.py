"""The progress of a training, which some estimators and transformations of weights depend on."""

from fxbin.binarized.state import BinarizationState
from fxbin.binarizers import Binarizer
from fxbin.config import Params
from fxbin.errors import ConfigError


def check_progress(state: BinarizationState, params: Params) -> None:
    """Raise ConfigError if a binarizer depends on the progress, and the config does not say when it ends."""
    follower = next((b for b in state.binarizers if b.follows_progress), None)
    if follower is not None and params.progress_epochs is None and params.lr_poly_drop_start_epoch is None:
        raise ConfigError(
            f"params.progress_epochs: {follower.name} has a part that changes from epoch to epoch "
            f"({follower.extra_repr()}), and the config does not say over how many: give this key, or "
            "lr_poly_drop_start_epoch, with whose decay the change ends"
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
