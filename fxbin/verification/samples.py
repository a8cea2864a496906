"""Samples: the inputs on which a runtime is compared."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from fxbin.errors import ExportError
from fxbin.graph.containers import leaves
from fxbin.lowering.inputs import BoundInputs, bind_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 0
"""Seed of random samples."""

Sample = Tensor | tuple[Any, ...]
"""The positional inputs of one forward; a tensor stands for a single input."""


def first_sample(inputs: Sequence[Sample] | None) -> tuple[Any, ...] | None:
    """The first sample as a tuple of positional inputs; None if `inputs` is None.

    Raises ExportError if `inputs` is not a list of samples, or is empty.
    """
    if inputs is None:
        return None
    if not isinstance(inputs, list | tuple) or not inputs:
        raise ExportError(
            "inputs: expected a list of samples, each a tensor or a tuple of positional inputs; write [x]"
        )
    for index, sample in enumerate(inputs):
        tensors_of_sample("inputs", index, sample)
    return inputs[0] if isinstance(inputs[0], tuple) else (inputs[0],)


def bound_samples(
    graph: fx.Graph, example: BoundInputs, samples: Sequence[Sample] | None
) -> list[BoundInputs]:
    """`samples` bound to the inputs of `graph`; by default random numbers and zeros, shaped as `example`."""
    if samples is None:
        return [_like(example, kind) for kind in ("random", "zeros")]
    device = next(iter(example.tensors)).device
    bound = [bind_inputs(graph, x if isinstance(x, tuple) else (x,), {}) for x in samples]
    return [
        BoundInputs(inputs.with_tensors([x.to(device) for x in inputs.tensors]), inputs.names)
        for inputs in bound
    ]


def named_arrays(samples: Sequence[BoundInputs]) -> tuple[list[dict[str, str]], dict[str, "NDArray[Any]"]]:
    """The samples as the worker takes them: for each sample a key by input name, and all arrays by key."""
    arrays: dict[str, NDArray[Any]] = {}
    keys = []
    for index, sample in enumerate(samples):
        named = dict(zip(sample.names, sample.tensors, strict=True))
        keys.append({name: f"input {index} {name}" for name in named})
        arrays |= {f"input {index} {name}": to_array(x) for name, x in named.items()}
    return keys, arrays


def tensors_of_sample(option: str, index: int, sample: Any) -> list[Tensor]:
    """The tensors in `sample`, number `index` of the argument `option`; ExportError if it has none."""
    tensors = tensors_of(sample)
    if not tensors:
        raise ExportError(
            f"{option}: sample {index} is a {type(sample).__name__} without tensors; expected a tensor or a "
            "tuple of positional inputs"
        )
    return tensors


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in `value`, also inside nested tuples, lists, dicts and dataclasses, in order."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]


def to_array(x: Tensor) -> "NDArray[Any]":
    """`x` as a contiguous numpy array; bfloat16, which numpy lacks, becomes float32."""
    import numpy as np  # not needed for the rest, and not installed with torch

    if x.dtype == torch.bfloat16:
        x = x.float()
    # Reshaped, because `ascontiguousarray` makes a 0-d array 1-d.
    array: NDArray[Any] = np.ascontiguousarray(x.detach().cpu().numpy()).reshape(tuple(x.shape))
    return array


def _like(example: BoundInputs, kind: str) -> BoundInputs:
    generator = torch.Generator().manual_seed(SEED)
    return BoundInputs(example.with_tensors(list(_tensors_like(example, kind, generator))), example.names)


def _tensors_like(example: BoundInputs, kind: str, generator: torch.Generator) -> Iterator[Tensor]:
    for x in example.tensors:
        if kind == "zeros":
            yield torch.zeros_like(x)
        elif x.is_floating_point():
            yield torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        else:
            yield x  # an index or a flag, where not every number is valid
