"""A place in the middle of an epoch, from which a run can go on as if it had not been stopped."""

import copy
from collections.abc import Sequence
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
        return cls(batches, list(division), stage, seconds, every, list(training_counts))

    def restore(self, diagnostics: Diagnostics | None) -> Meter:
        """The meter of this process, and `diagnostics` as they were; of a new process they begin here."""
        meter = Meter()
        if own_rank() < len(self.of_ranks):
            own = self.of_ranks[own_rank()]
            vars(meter).update(copy.deepcopy(own["meter"]))
            if diagnostics is not None and own["diagnostics"] is not None:
                diagnostics.load_state_dict(own["diagnostics"])
        return meter
