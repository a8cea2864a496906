"""A place in the middle of an epoch, from which a run can go on as if it had not been stopped."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import distributed

from fxbin.binarizers.ranks import rank_count
from fxbin.diagnostics import Diagnostics
from fxbin.train.meter import Meter
from fxbin.train.processes import own_rank

NOT_KEPT = {"_glanced"}
"""What a meter has for displays alone."""


@dataclass
class Position:
    """Where in an epoch a checkpoint was written, as tensors, plain values and containers only."""

    batches: int
    """Number of batches of the epoch that are done."""

    division: list[int]
    """How the epoch is divided among processes, as `TrainingBatches.division` tells it."""

    stage: str
    """The stage with which the epoch began."""

    seconds: float
    """Duration of the epoch so far."""

    of_ranks: list[dict[str, Any]]
    """Of each process: ``{"meter": ..., "diagnostics": ...}``, what was summed up in the epoch so far."""

    training_counts: list[int] = field(default_factory=list)
    """What `Data.training_counts` was; empty if it was not kept."""

    used: dict[str, float] = field(default_factory=dict)
    """`lr` and `weight_decay` of the last optimizer step; empty if they were not kept."""

    @classmethod
    def now(
        cls,
        batches: int,
        division: Sequence[int],
        stage: str,
        seconds: float,
        meter: Meter,
        diagnostics: Diagnostics | None,
        training_counts: Sequence[int],
        used: Mapping[str, float],
    ) -> "Position":
        """The place that training has reached; all processes must call it."""
        kept = {key: value for key, value in vars(meter).items() if key not in NOT_KEPT}
        own = {
            "meter": copy.deepcopy(kept),
            "diagnostics": None if diagnostics is None else diagnostics.state_dict(),
        }
        every = [own] * rank_count()
        if rank_count() > 1:
            distributed.all_gather_object(every, own)
        return cls(batches, list(division), stage, seconds, every, list(training_counts), dict(used))

    def restore(self, diagnostics: Diagnostics | None) -> Meter:
        """The meter of this process, and `diagnostics` as they were; of a new process they begin here."""
        if own_rank() >= len(self.of_ranks):
            return Meter()
        own = self.of_ranks[own_rank()]
        if diagnostics is not None and own["diagnostics"] is not None:
            diagnostics.load_state_dict(own["diagnostics"])
        return _meter_of(own)

    def meter_of_all(self) -> Meter:
        """The meter over all processes that there were, however many there are now."""
        return Meter.joined(map(_meter_of, self.of_ranks))


def _meter_of(kept: Mapping[str, Any]) -> Meter:
    """The meter of a process, from what is kept of that in `Position.of_ranks`."""
    meter = Meter()
    vars(meter).update(copy.deepcopy(kept["meter"]))
    return meter
