"""Checks that a graph traced for an export or a deployment computes what the model does."""

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError
from fxbin.lowering.record import ERRORS_OF_A_RUN, does_not_run

TOLERANCE = 1e-3
"""Largest allowed difference relative to the largest value. Model and graph run the same operators."""


def check_outputs(
    module: BinarizedModule, model: BinarizedModule, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Raise ExportError if `module`, a copy of `model` with a new graph, gives other outputs than `model`.

    A model that was changed after the transform runs its own code, which binarizes each convolution as the
    code calls it; a new graph has binarizers where the call sites have the names or the weights that they had
    in the transform. Both are run once, as copies, in eval mode.
    """
    outputs = [_outputs(each, args, kwargs) for each in (copy.deepcopy(model).eval(), copy.deepcopy(module))]
    expected, found = map(torch_private.pytree.tree_leaves, outputs)
    if len(expected) != len(found) or not all(map(_are_close, expected, found)):
        raise ExportError(
            f"model: a graph of what {type(model).__name__} does since it was changed after the transform "
            "gives other outputs than the model itself. Make the change in the original model (an assigned "
            "forward, a hook, another class), and transform that"
        )


def _outputs(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    device = next((x.device for x in chain(module.parameters(), module.buffers())), torch.device("cpu"))

    def own(leaf: Any) -> Any:
        return leaf.to(device, copy=True) if isinstance(leaf, Tensor) else leaf

    inputs, named = torch_private.pytree.tree_map(own, (args, dict(kwargs)))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            return module(*inputs, **named)
        except ERRORS_OF_A_RUN as error:
            raise ExportError(does_not_run([*inputs, *named.values()], error)) from error


def _are_close(expected: Any, found: Any) -> bool:
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor):
        return not isinstance(expected, float | int) or bool(expected == found)
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not expected.is_floating_point():
        return torch.equal(expected, found)
    finite = expected[expected.isfinite()].abs()
    largest = finite.max().item() if finite.numel() else 0.0
    return torch.allclose(expected, found, rtol=0, atol=TOLERANCE * largest, equal_nan=True)
