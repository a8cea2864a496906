"""Compares outputs of a runtime with those of PyTorch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import fx

from fxbin.errors import VerificationError
from fxbin.lowering.inputs import BoundInputs
from fxbin.verification.output_check import OutputCheck
from fxbin.verification.reference import outputs_of
from fxbin.verification.rounding import output_changes
from fxbin.verification.samples import to_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_outputs(
    model: fx.GraphModule,
    samples: Sequence[BoundInputs],
    names: Sequence[str],
    found: "Sequence[Sequence[NDArray[Any]]]",
    tolerance: float,
) -> tuple[OutputCheck, ...]:
    """Compare the outputs `found` of a runtime with those of `model`: for each sample, the outputs `names`.

    Returns one check per output, the worst over all samples. Raises VerificationError if the number of
    outputs differs.
    """
    checks: list[list[OutputCheck]] = []
    for sample, outputs in zip(samples, found, strict=True):
        expected = [to_array(y) for y in outputs_of(model, sample)]
        if len(outputs) != len(expected):
            raise VerificationError(f"the file has {len(outputs)} outputs, the model {len(expected)}")
        differences = [largest_difference(x, y) for x, y in zip(outputs, expected, strict=True)]
        allowed = [allowed_difference(y, tolerance) for y in expected]
        changes = [0.0] * len(expected)
        if any(difference > limit for difference, limit in zip(differences, allowed, strict=True)):
            changes = output_changes(model, sample)
        checks.append(
            [
                OutputCheck(name, difference, max(limit, 2 * change), at_thresholds=2 * change > limit)
                for name, difference, limit, change in zip(names, differences, allowed, changes, strict=True)
            ]
        )
    return tuple(max(column, key=_badness) for column in zip(*checks, strict=True))


def _badness(check: OutputCheck) -> float:
    return check.difference / check.allowed


def largest_difference(found: "NDArray[np.generic]", expected: "NDArray[np.generic]") -> float:
    """Largest absolute difference of two arrays; infinite if their shapes differ.

    Equal infinities, and NaN in both, count as 0; NaN or an infinity in only one counts as infinite.
    """
    import numpy as np

    if found.shape != expected.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return float(np.where(same, 0, np.where(np.isnan(difference), np.inf, difference)).max(initial=0))


def allowed_difference(expected: "NDArray[np.generic]", tolerance: float) -> float:
    """`tolerance`, times the largest finite value of `expected` if that is above 1."""
    import numpy as np

    size = np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=0)
    return tolerance * max(1.0, float(size))
