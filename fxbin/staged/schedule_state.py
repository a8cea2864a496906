"""The content of `StagedSchedule.state_dict`, and the checks when one is loaded."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from fxbin.config import Params
from fxbin.errors import CheckpointError

OPTIONAL = {"stages"}
"""Entries that states saved by earlier versions lack."""


@dataclass(frozen=True)
class ScheduleState:
    """The position of a schedule, and the base values of its optimizers."""

    epoch: float | None
    """The epoch that was started last; None before the first."""

    fraction: float
    """The share of that epoch that is done, from 0 to 1."""

    step_length: float | None
    """The smallest fraction above 0 that `step` has seen; None before the first."""

    base_lrs: list[float]
    """Base learning rate of each parameter group."""

    base_weight_decays: list[float | None]
    """Base weight decay of each parameter group; None for an optimizer without one."""

    stages: dict[str, float | str | None] | None
    """`stages_of` the config; None if an earlier version saved the state."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as numbers, lists, dicts and None."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Any, groups: int) -> Self:
        """Read `state`, as `to_dict` returned it, for `groups` parameter groups.

        Raises CheckpointError, which names all entries that are missing or wrong.
        """
        if not isinstance(state, Mapping):
            raise CheckpointError(
                f"schedule state: expected what schedule.state_dict() gave, got {_shown(state)}."
            )
        missing = sorted(map(str, cls.__dataclass_fields__.keys() - OPTIONAL - state.keys()))
        if missing:
            raise CheckpointError(
                f"schedule state: missing {', '.join(missing)}. "
                "Expected what schedule.state_dict() of a StagedSchedule gave."
            )
        problems = list(_problems(state))
        if problems:
            raise CheckpointError("schedule state: " + "; ".join(problems) + ".")
        if len(state["base_lrs"]) != groups:
            raise CheckpointError(
                f"schedule state: saved with {len(state['base_lrs'])} parameter groups, "
                f"the optimizer has {groups}. Build the optimizer as it was when the state was saved."
            )
        entries: dict[str, Any] = {name: state.get(name) for name in cls.__dataclass_fields__}
        return cls(**entries)

    def stages_changed(self, params: Params) -> list[str]:
        """The keys in `params` that differ from the config this was saved with, as one sentence each."""
        now = stages_of(params)
        saved = now if self.stages is None else self.stages
        return [
            f"{key} was {_value(saved.get(key))} and is {_value(now.get(key))}"
            for key in {**now, **saved}
            if saved.get(key) != now.get(key)
        ]


def stages_of(params: Params) -> dict[str, float | str | None]:
    """The keys of `params` that determine stages, learning rate and weight decay, with their values.

    Those that came later are among them only if they are not the default, so states of old versions compare
    equal.
    """
    stages: dict[str, float | str | None] = {
        "activations_quant_start_epoch": params.activations_quant_start_epoch,
        "weights_quant_start_epoch": params.weights_quant_start_epoch,
        "lr_poly_drop_start_epoch": params.lr_poly_drop_start_epoch,
        "lr_poly_drop_duration_epochs": params.lr_poly_drop_duration_epochs,
        "disable_wd_start_epoch": params.disable_wd_start_epoch,
    }
    if params.lr_schedule != "poly":
        stages["lr_schedule"] = params.lr_schedule
    if params.lr_per_stage:
        stages["lr_per_stage"] = "true"
    return stages


def _problems(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with each entry of `state`, which has all entries."""
    epoch, fraction, length = state["epoch"], state["fraction"], state["step_length"]
    if not (epoch is None or (_is_number(epoch) and epoch >= 0)):
        yield f"epoch: expected a number from 0 up or None, got {_shown(epoch)}"
    if not (_is_number(fraction) and 0 <= fraction <= 1):
        yield f"fraction: expected a number from 0 to 1, got {_shown(fraction)}"
    if not (length is None or (_is_number(length) and 0 < length <= 1)):
        yield f"step_length: expected a number above 0, up to 1, or None, got {_shown(length)}"
    rates, decays, stages = state["base_lrs"], state["base_weight_decays"], state.get("stages")
    if not (isinstance(rates, list | tuple) and all(map(_is_number, rates))):
        yield f"base_lrs: expected a list of numbers, got {_shown(rates)}"
    elif not (
        isinstance(decays, list | tuple)
        and len(decays) == len(rates)
        and all(decay is None or _is_number(decay) for decay in decays)
    ):
        yield f"base_weight_decays: expected a number or None for each of base_lrs, got {_shown(decays)}"
    if not (stages is None or isinstance(stages, Mapping)):
        yield f"stages: expected an object, got {_shown(stages)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, int | float | str) else type(value).__name__


def _value(value: Any) -> str:
    return "not given" if value is None else f"{value:g}" if _is_number(value) else str(value)
