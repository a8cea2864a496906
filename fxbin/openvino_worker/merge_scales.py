"""Merges the multiplications after each 1-bit convolution into one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxbin.openvino_worker.layer_types import ONE_BIT


def merge_scales(model: Any) -> None:
    """Merge the multiplications after each 1-bit convolution into one, in place; this shrinks the file.

        before:  (conv * 0.5 + c) * s * a * g      (as OpenVINO converts it, g from a BatchNorm)
        after:   (conv + 2 c) * (0.5 s a g)

    Both sums are exact, because conv and 2 c are integers.
    """
    from openvino import opset1

    for operator in model.get_ordered_ops():
        if operator.get_type_name() != ONE_BIT:
            continue
        chain = list(_constant_operands(operator))
        kinds = [kind for kind, _, _ in chain]
        if kinds[:3] != ["Multiply", "Add", "Multiply"] or abs(np.frexp(chain[0][2])[0]) != 0.5:
            continue
        last = 2 + next((i for i, kind in enumerate(kinds[2:]) if kind != "Multiply"), len(kinds) - 2)
        (_, _, half), (_, _, shift), *factors = chain[:last]
        scale = np.prod(np.broadcast_arrays(half, *(value for _, _, value in factors)), axis=0)
        users = chain[last - 1][1].output(0).get_target_inputs()
        total = opset1.add(operator.output(0), np.float32(shift / half))
        merged = opset1.multiply(total, np.float32(scale))
        merged.set_friendly_name(chain[last - 1][1].get_friendly_name())
        for user in users:
            user.replace_source_output(merged.output(0))


def _constant_operands(operator: Any) -> Iterator[tuple[str, Any, NDArray[np.float64]]]:
    """Yield type, operator and constant of each operator in the chain after `operator`.

    The chain ends before an operator that has several users, or that does not combine with one constant.
    """
    while len(users := operator.output(0).get_target_inputs()) == 1:
        (port,) = users
        operator = port.get_node()
        others = [value.get_node() for value in operator.input_values()]
        del others[port.get_index()]
        if [other.get_type_name() for other in others] != ["Constant"]:
            return
        yield operator.get_type_name(), operator, others[0].get_data().astype(np.float64)
