"""Checks the samples that determine the ranges of int8 layers."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fxbin.errors import ExportError
from fxbin.verification.samples import Sample, tensors_of_sample, to_array


def calibration_arrays(calibration: Iterable[Sample]) -> list[list[NDArray[Any]]]:
    """The tensors of each sample as arrays.

    Raises ExportError if there are no samples, or if one has no tensors, values that are not finite, or other
    shapes than the first.
    """
    if isinstance(calibration, Tensor):
        raise ExportError("calibration: expected a list of samples, got a Tensor; write [x]")
    samples: list[list[NDArray[Any]]] = []
    for index, sample in enumerate(calibration):
        arrays = [to_array(x) for x in tensors_of_sample("calibration", index, sample)]
        if not all(np.isfinite(x).all() for x in arrays):
            raise ExportError(
                f"calibration: sample {index} has NaN or infinite values, which give no int8 range; "
                "leave it out"
            )
        samples.append(arrays)
        shapes, first = ([x.shape for x in some] for some in (arrays, samples[0]))
        if shapes != first:
            raise ExportError(
                f"calibration: sample {index} has the shapes {shapes}, the first {first}; give all the same "
                "batch size, as a DataLoader does with drop_last=True"
            )
    if not samples:
        raise ExportError("calibration: expected samples, got none; leave it out to keep float32")
    return samples
