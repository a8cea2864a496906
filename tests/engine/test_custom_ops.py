"""fxbin's operators in onnxruntime: same numbers as in PyTorch, and an error for whatever does not fit."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import fxbin
from fxbin.engine.library import Engine
from fxbin.errors import EngineError
from fxbin.export.binary_conv2d import OPERATORS
from tests.engine.cases import Case, random_cases
from tests.engine.onnx_files import NODE, OneOperator, onnxruntime


def test_random_convolutions_equal_those_in_pytorch(built: Engine) -> None:
    seen = set()
    for case in random_cases(60, seed=11):
        file = OneOperator(case)
        seen.add(file.name)
        assert np.array_equal(file.run(), case.run().numpy()), file.attributes
    assert seen == set(OPERATORS)


def test_definitions_equal_the_operators() -> None:
    for case in random_cases(40, seed=12):
        found = OneOperator(case).run(registered=False)
        np.testing.assert_allclose(found, case.expected().numpy(), rtol=0, atol=1e-4)


def test_the_operator_wins_over_a_definition_of_its_name(built: Engine) -> None:
    # Sums of levels like these are rounded by a float convolution, and not by the engine, which counts.
    case = next(random_cases(1, seed=13))
    case.args[2][:] = torch.tensor([0.1, 0.7])
    file = OneOperator(case)
    options = onnxruntime.SessionOptions()
    fxbin.register_custom_ops(options)
    session = onnxruntime.InferenceSession(file.model(with_definition=True), options)
    assert np.array_equal(session.run(None, file.inputs)[0], np.moveaxis(case.run().numpy(), 1, -1))


def test_a_batch_of_no_pictures(built: Engine) -> None:
    for case in random_cases(3, seed=14):
        file = OneOperator(case)
        shape = case.expected().shape
        file.inputs = {name: value[:0] for name, value in file.inputs.items()}
        assert file.run().shape == (0, *shape[1:])


def one_case() -> Case:
    """A convolution with everything: two groups, a residual and slopes."""
    torch.manual_seed(0)
    wanted = {"residual", "slope"}
    return next(
        case
        for case in random_cases(1000, seed=15)
        if case.kwargs["groups"] == 2 and wanted <= set(case.options) and len(case.args[0]) == 2
        and case.kwargs["kernel_size"] == [2, 3] and case.args[0].shape[1] > 4
    )  # fmt: skip


def test_a_residual_broadcasts(built: Engine) -> None:
    case = one_case()
    for axis in range(4):
        file = OneOperator(case)
        file.inputs["residual"] = file.inputs["residual"].take([0], axis)
        case.options["residual"] = torch.from_numpy(np.moveaxis(file.inputs["residual"], -1, 1))
        assert np.array_equal(file.run(), case.run().numpy())


def cut(name: str) -> Callable[[OneOperator], None]:
    """Take the last value of a constant away."""

    def change(file: OneOperator) -> None:
        file.constants[name] = file.constants[name][..., :-1]

    return change


def lengthen(name: str) -> Callable[[OneOperator], None]:
    """Repeat the first values of a constant at its end."""

    def change(file: OneOperator) -> None:
        value = file.constants[name]
        file.constants[name] = np.concatenate([value, value[:1]])

    return change


def flatten(name: str) -> Callable[[OneOperator], None]:
    """As many values, with one axis."""

    def change(file: OneOperator) -> None:
        file.constants[name] = file.constants[name].reshape(-1)

    return change


def transpose(name: str) -> Callable[[OneOperator], None]:
    """As many values, along other axes."""

    def change(file: OneOperator) -> None:
        file.constants[name] = np.ascontiguousarray(np.atleast_2d(file.constants[name]).T)

    return change


def empty(name: str) -> Callable[[OneOperator], None]:
    """No values at all."""

    def change(file: OneOperator) -> None:
        file.constants[name] = file.constants[name][:0]

    return change


def attribute(name: str, value: Any) -> Callable[[OneOperator], None]:
    """Another attribute."""

    def change(file: OneOperator) -> None:
        file.attributes[name] = value

    return change


def without(name: str) -> Callable[[OneOperator], None]:
    """One attribute less."""

    def change(file: OneOperator) -> None:
        del file.attributes[name]

    return change


def an_input(name: str) -> Callable[[OneOperator], None]:
    """A constant that whoever runs the file gives."""

    def change(file: OneOperator) -> None:
        file.inputs[name] = file.constants.pop(name)

    return change


def of_shape(name: str, *shape: int) -> Callable[[OneOperator], None]:
    """Another shape of an input."""

    def change(file: OneOperator) -> None:
        file.inputs[name] = np.zeros(shape, np.float32)

    return change


def taps_for_channels(file: OneOperator) -> None:
    """As many bytes, of which the axes say something else."""
    bits = file.constants["weight_bits"]
    file.constants["weight_bits"] = bits.reshape(bits.shape[0], 1, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut("weight_bits"), "weight_bits: expected 2 on axis 2, got 1"),
        (lengthen("weight_bits"), "groups: expected a divisor of channels and filters"),
        (flatten("weight_bits"), "weight_bits: expected 3 axes, got 1"),
        (taps_for_channels, "weight_bits: expected 6 on axis 1, got 1"),
        (an_input("weight_bits"), "weight_bits: expected an initializer, got a computed value"),
        (cut("thresholds"), "groups: expected a divisor of channels and filters"),
        (an_input("thresholds"), "thresholds: expected an initializer"),
        (cut("x_levels"), "x_levels: expected 2 on axis 0, got 1"),
        (lengthen("x_levels"), "x_levels: expected 2 on axis 0, got 3"),
        (transpose("x_levels"), "x_levels: expected 1 axes, got 2"),
        (cut("w_levels"), r"w_levels: expected \d+ on axis 1, got \d+"),
        (lengthen("w_levels"), "w_levels: expected 2 on axis 0, got 3"),
        (flatten("w_levels"), "w_levels: expected 2 axes, got 1"),
        (transpose("w_levels"), r"w_levels: expected 2 on axis 0, got \d+"),
        (cut("bias"), r"bias: expected \d+ on axis 0, got \d+"),
        (empty("bias"), r"bias: expected \d+ on axis 0, got 0"),
        (transpose("bias"), "bias: expected 1 axes, got 2"),
        (cut("slope"), r"slope: expected \d+ on axis 0, got \d+"),
        (empty("slope"), r"slope: expected \d+ on axis 0, got 0"),
        (transpose("slope"), "slope: expected 1 axes, got 2"),
        (transpose("thresholds"), "thresholds: expected 1 axes, got 2"),
        (attribute("kernel_shape", [3, 2]), "x: input size|weight_bits|y: |residual: "),
        (attribute("kernel_shape", [2, 4]), "weight_bits: expected 8 on axis 1, got 6"),
        (attribute("kernel_shape", [6]), "kernel_shape: expected 2 numbers"),
        (attribute("kernel_shape", [2**40, 2**40]), "kernel: expected 1 to"),
        (attribute("strides", [0, 1]), "stride: expected 1 to"),
        (attribute("strides", [1] * 9), "strides: expected 2 numbers"),
        (attribute("dilations", [2**62, 1]), "dilation: expected 1 to"),
        (attribute("pads", [0, -1, 0, 0]), "padding: expected 0 to"),
        (attribute("pads", [1, 1]), "pads: expected 4 numbers"),
        (attribute("group", 0), "groups: expected 1 to"),
        (attribute("group", 7), "groups: expected a divisor"),
        (without("group"), "group: expected a number"),
        (without("kernel_shape"), "kernel_shape: expected 2 numbers"),
        (of_shape("x", 2, 5, 5, 3), "x: expected .* on axis 1, got 3"),
        (of_shape("x", 2, 5, 5), "x: expected 4 axes, got 3"),
        (of_shape("x", 2, 0, 5, 32), "input size: expected 1 to"),
        (of_shape("residual", 2, 1, 1, 3), "residual: expected .* on axis 1, got 3"),
        (of_shape("residual", 1), "residual: expected 4 axes, got 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error(
    built: Engine, change: Callable[[OneOperator], None], message: str
) -> None:
    file = OneOperator(one_case())
    assert file.run().size
    change(file)
    with pytest.raises(Exception, match=message) as caught:
        file.run()
    assert NODE in str(caught.value)


@pytest.mark.parametrize(
    ("name", "dtype"), [("x", np.float64), ("weight_bits", np.int8), ("thresholds", np.float64)]
)
def test_another_type_is_an_error(built: Engine, name: str, dtype: Any) -> None:
    file = OneOperator(one_case())
    values = file.inputs if name in file.inputs else file.constants
    values[name] = values[name].astype(dtype)
    with pytest.raises(Exception, match="Type Error"):
        file.run()


def test_sessions_with_several_threads(built: Engine) -> None:
    case = Case((torch.randn(3, 64, 40, 40), *next(wide_cases())[1:]), GEOMETRY, torch.empty(0))
    file = OneOperator(case)
    expected = case.run().permute(0, 2, 3, 1).numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    fxbin.register_custom_ops(options)
    session = onnxruntime.InferenceSession(file.model(), options, providers=["CPUExecutionProvider"])
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: session.run(None, file.inputs)[0], range(12)):
            assert np.array_equal(found, expected)


GEOMETRY = {
    "kernel_size": [3, 3], "stride": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1], "groups": 1,
}  # fmt: skip


def wide_cases() -> Iterator[tuple[Any, ...]]:
    """Arguments for 64 channels and 128 filters."""
    bits = torch.randint(0, 256, (128, 9, 8), dtype=torch.uint8)
    yield None, torch.zeros(64), torch.tensor([0.0, 1.0]), bits, torch.randn(2, 128), None


def test_sessions_share_what_they_registered(built: Engine) -> None:
    file = OneOperator(one_case())
    options = onnxruntime.SessionOptions()
    library = fxbin.register_custom_ops(options)
    assert library.suffix == ".so"
    sessions = [onnxruntime.InferenceSession(file.model(), options) for _ in range(2)]
    del options
    first, second = (session.run(None, file.inputs)[0] for session in sessions)
    assert np.array_equal(first, second)


def test_registering_twice_is_as_good_as_once(built: Engine) -> None:
    file, options = OneOperator(one_case()), onnxruntime.SessionOptions()
    assert fxbin.register_custom_ops(options) == fxbin.register_custom_ops(options)
    assert onnxruntime.InferenceSession(file.model(), options).run(None, file.inputs)[0].size


def test_registering_loads_no_pytorch(built: Engine) -> None:
    code = (
        "import sys, onnxruntime, fxbin; fxbin.register_custom_ops(onnxruntime.SessionOptions()); "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == "False\n"


def test_only_options_can_be_registered_with() -> None:
    with pytest.raises(EngineError, match=r"options: expected onnxruntime\.SessionOptions, got str"):
        fxbin.register_custom_ops("model.onnx")


def test_without_onnxruntime_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxbin.engine.custom_ops.find_spec", lambda _name: None)
    with pytest.raises(EngineError, match=r"onnxruntime not found: pip install .fxbin\[onnx\]"):
        fxbin.register_custom_ops(onnxruntime.SessionOptions())


def test_an_old_onnxruntime_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.17.3")
    with pytest.raises(EngineError, match=r"onnxruntime is 1\.17\.3, fxbin's operators need 1\.18 or newer"):
        fxbin.register_custom_ops(onnxruntime.SessionOptions())
