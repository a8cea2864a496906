"""Ends a run whose held-out accuracy no longer grows in the last stage."""

from collections.abc import Sequence

from fxbin.config import Config
from fxbin.staged.schedule import stage_at
from fxbin.train.best import final_epochs, metric
from fxbin.train.history import EpochRecord


def why_stopped(config: Config, history: Sequence[EpochRecord]) -> str | None:
    """Why the run ends after `history`, as a sentence; None if it goes on.

    Only epochs of the last stage count, in which both activations and weights are binarized and, if the
    config lets it, the learning rate falls: before that, accuracies vary by several points from epoch to
    epoch. All follows from the history, so a resumed run ends where an uninterrupted one does.
    """
    rule = config.early_stop
    if rule is None:
        return None
    last = stage_at(config.binarization.params, config.epochs - 1)
    counted = [record for record in final_epochs(config, history) if record.stage == last]
    if not counted:
        return None
    best, waited = counted[0], 0
    for record in counted[1:]:
        if metric(config, record) > metric(config, best) + rule.min_delta:
            best, waited = record, 0
        else:
            waited += 1
    if waited < rule.patience:
        return None
    epochs = "1 epoch that was" if waited == 1 else f"{waited} epochs that were"
    return (
        f"stopped early after {epochs} not better than epoch {best.epoch + 1} ({metric(config, best):.2f} %)"
    )
