"""Quantizes layers that are not in 1 bit to int8."""

from typing import Any

from numpy.typing import NDArray

from fxbin.openvino_worker.job import StartStep
from fxbin.openvino_worker.layer_types import ONE_BIT

WITHOUT_WEIGHTS = {"Add", "AvgPool", "MaxPool", "Multiply", "ReduceMean", "Subtract"}
"""Types of operators, besides convolutions and matrix products, to which nncf would give int8 inputs."""


def to_int8(model: Any, samples: list[list[NDArray[Any]]], start_step: StartStep) -> Any:
    """`model` with its other layers in int8 instead of float32, with ranges from `samples`."""
    import nncf

    def named(sample: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        start_step("nncf.quantize")  # for each sample, so that the time limit holds for one
        return dict(zip(names, sample, strict=True))

    keep_from_concatenations(model)
    names = [port.any_name for port in model.inputs]
    # By name, because nncf would take a list for a single input.
    dataset = nncf.Dataset(samples, named)
    return nncf.quantize(model, dataset, subset_size=len(samples), ignored_scope=_ignored(model))


def keep_from_concatenations(model: Any) -> None:
    """Put a max pooling over single pixels between each concatenation and a binarizer after it.

    In a model with int8 layers, OpenVINO 2026.4.1 moves a FakeQuantize to before a concatenation, and then
    crashes if it has two levels. The pooling changes no value and prevents that.
    """
    from openvino import opset1

    for operator in model.get_ordered_ops():
        if operator.get_type_name() != "FakeQuantize" or operator.get_attributes()["levels"] != 2:
            continue
        source = operator.input_value(0)
        before = source.get_node()
        if before.get_type_name() == "Relu":
            before = before.input_value(0).get_node()
        if before.get_type_name() == "Concat":
            barrier = opset1.max_pool(source, [1, 1], [0, 0], [0, 0], [1, 1], "floor")
            operator.input(0).replace_source_output(barrier.output(0))


def _ignored(model: Any) -> Any:
    """The operators that nncf ignores: in a model with 1-bit convolutions, all but full-precision layers.

    A sum in int8, for example, could not be fused into the 1-bit convolution before it, and its operands
    would have to be converted: ResNet18 would take 10 % longer. A convolution that is binarized in standard
    operators would get a conversion after its two levels, which costs MobileNetV2 more than int8 saves.
    """
    import nncf

    operators = model.get_ordered_ops()
    present = {operator.get_type_name() for operator in operators}
    if ONE_BIT not in present:
        return None
    binarized = [operator.get_friendly_name() for operator in operators if _is_after_select(operator)]
    return nncf.IgnoredScope(names=binarized, types=sorted(present & WITHOUT_WEIGHTS))


def _is_after_select(operator: Any) -> bool:
    """Whether `operator` is a convolution whose input is binarized in standard operators."""
    if operator.get_type_name() not in {"Convolution", "GroupConvolution"}:
        return False
    return bool(operator.input_value(0).get_node().get_type_name() == "Select")
