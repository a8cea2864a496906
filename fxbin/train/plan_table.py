"""`fxbin train --plan`: stage, learning rate and weight decay of each epoch, before any training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxbin.config import Config
from fxbin.errors import DataError
from fxbin.staged.progress import check_progress_of
from fxbin.staged.schedule import ASSUMED_STEP, lr_factor, stage_at
from fxbin.train.cosine import cosine_lr
from fxbin.train.figure_file import save_figure
from fxbin.train.history import PRETRAINING, STAGED

BAR = 30
"""Characters of the bar for the highest learning rate."""

POINTS = 20
"""Points of an epoch that a picture of the learning rate has."""


@dataclass(frozen=True)
class PlannedEpoch:
    """What an epoch will be like."""

    phase: str
    """`PRETRAINING` or `STAGED`."""

    epoch: int
    """Number of the epoch within its phase, from 0."""

    stage: str
    """``"pretraining"``, or the stage with which the epoch starts."""

    lrs: tuple[float, ...]
    """Learning rate of the first parameter group, from the start of the epoch to its end."""

    weight_decay: float
    """Weight decay of the first parameter group at the start of the epoch."""


def planned_epochs(config: Config) -> list[PlannedEpoch]:
    """The epochs of both phases, in their order, as if a step took a hundredth of an epoch.

    Raises ConfigError if a part changes from epoch to epoch, and the config does not say over how many.
    """
    check_progress_of(config.binarization)
    return [*_pretraining(config), *_stages(config)]


def plan_table(config: Config) -> str:
    """A line for each epoch: phase, stage, learning rate at its start and end, weight decay, and a bar."""
    epochs = planned_epochs(config)
    highest = max(rate for epoch in epochs for rate in epoch.lrs)
    lines = [f"{'epoch':>7}  {'stage':<24}{'lr, first':>11}{'lr, last':>11}{'wd':>9}  learning rate"]
    for planned in epochs:
        total = config.pretrain.epochs if planned.phase == PRETRAINING else config.epochs
        number = f"{planned.epoch + 1}/{total}"
        rates = f"{planned.lrs[0]:11.2e}{planned.lrs[-1]:11.2e}"
        bar = "█" * max(1, round(BAR * planned.lrs[0] / highest))
        lines.append(f"{number:>7}  {planned.stage:<24}{rates}{planned.weight_decay:9.1e}  {bar}")
    return "\n".join(lines)


def draw_plan(config: Config, path: Path) -> None:
    """Draw learning rate and stages over the epochs, and write it to `path` (SVG, or what its suffix names).

    Raises DataError if matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("a picture of the plan needs matplotlib: `pip install 'fxbin[train]'`") from error
    from fxbin.train.curves import STYLE, name_stages, shade_stages

    epochs = planned_epochs(config)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots()
        for _, first, last in _phases(epochs):
            part = range(first, last + 1)
            places = [0.5 + epoch + i / POINTS for epoch in part for i in range(POINTS + 1)]
            axes.plot(places, [rate for epoch in part for rate in epochs[epoch].lrs], color="#1f4e79")
        axes.set_ylabel("learning rate")
        axes.set_xlabel("epoch")
        shade_stages(axes, epochs)
        name_stages(axes, epochs)
        save_figure(figure, path)


def _pretraining(config: Config) -> Iterator[PlannedEpoch]:
    own = config.pretrain
    for epoch in range(own.epochs):
        lrs = tuple(cosine_lr(own.lr, (epoch + i / POINTS) / own.epochs) for i in range(POINTS + 1))
        yield PlannedEpoch(PRETRAINING, epoch, PRETRAINING, lrs, own.weight_decay)


def _stages(config: Config) -> Iterator[PlannedEpoch]:
    params = config.binarization.params
    off = params.disable_wd_start_epoch
    for epoch in range(config.epochs):
        lrs = tuple(
            params.base_lr * lr_factor(params, epoch, i / POINTS, ASSUMED_STEP) for i in range(POINTS + 1)
        )
        decay = 0.0 if off is not None and epoch > off else params.base_wd
        yield PlannedEpoch(STAGED, epoch, str(stage_at(params, epoch)), lrs, decay)


def _phases(epochs: Sequence[PlannedEpoch]) -> list[tuple[str, int, int]]:
    """The phases as (phase, first, last) with positions in `epochs`."""
    starts = [index for index, e in enumerate(epochs) if not index or e.phase != epochs[index - 1].phase]
    ends = [*starts[1:], len(epochs)]
    return [(epochs[first].phase, first, end - 1) for first, end in zip(starts, ends, strict=True)]
