"""The door of the C interface: every wrong size, stride, pointer and number is refused with a text."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from fxbin.engine.library import Engine, engine_or_why_not
from fxbin.engine.structs import ConvShape, EngineCall, EngineTensor
from fxbin.errors import EngineError

SHAPE = ConvShape(8, 4, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))


def tensor(values: torch.Tensor) -> EngineTensor:
    """`values` as the engine takes them."""
    return EngineTensor(values.data_ptr(), values.numel(), tuple(values.shape), values.stride())


class Sound:
    """A call that is right, with the memory it points to."""

    def __init__(self, engine: Engine) -> None:
        self.weights = engine.weights(SHAPE)
        self.kept = [torch.randn(1, 8, 5, 5), torch.randn(1, 4, 5, 5), torch.zeros(64), torch.zeros(64)]
        x, y, floats, bits = self.kept
        self.call = EngineCall(ctypes.sizeof(EngineCall), tensor(x))
        self.call.y = tensor(y)
        self.call.thresholds, self.call.thresholds_size = floats.data_ptr(), 8
        self.call.x_levels, self.call.x_levels_size = floats.data_ptr(), 2
        self.call.w_levels, self.call.w_levels_size = floats.data_ptr(), 8
        self.call.weight_bits, self.call.weight_bits_size = bits.data_ptr(), 4 * 9
        self.call.threads = 1


def change(call: EngineCall, path: str, value: Any) -> None:
    """Set the field at `path`, such as ``"x.stride.2"``."""
    *names, last = path.split(".")
    place: Any = call
    for name in names:
        place = getattr(place, name)
    if last.isdigit():
        place[int(last)] = value
    else:
        setattr(place, last, value)


WRONG: tuple[tuple[str, Any, str], ...] = (
    ("struct_size", 8, "call: its struct is of another version"),
    ("x_dtype", 3, "x dtype: expected 0 to 2, got 3"),
    ("x_dtype", 2, "x: expected 1 on axis 1, got 8"),
    ("activation", 5, "activation: expected 0 to 4, got 5"),
    ("activation", 2, "slope: expected data, got null"),
    ("threads", 0, "threads: expected 1 to 1024, got 0"),
    ("x.shape.0", -1, "batch: expected 0 to"),
    ("x.shape.1", 9, "x: expected 8 on axis 1, got 9"),
    ("x.shape.2", 1 << 40, "input size: expected 1 to"),
    ("x.shape.3", 0, "input size: expected 1 to 16777216, got 0"),
    ("x.stride.2", -5, "stride: expected 0 to"),
    ("x.stride.1", 1 << 62, "stride: expected 0 to"),
    ("x.stride.1", 26, "x: its strides reach element 206 of 200"),
    ("x.size", 199, "x: its strides reach element 199 of 199"),
    ("x.data", None, "x: expected data, got null"),
    ("x_dtype", 1, "x: its data is not aligned to 8 bytes"),
    ("y.shape.2", 4, "y: expected 5 on axis 2, got 4"),
    ("y.shape.0", 2, "y: expected 1 on axis 0, got 2"),
    ("y.size", 99, "y: its strides reach element 99 of 99"),
    ("y.data", None, "y: expected data, got null"),
    ("y.stride.1", 0, "y: expected a stride above 0 on axis 1, so that its elements do not overlap, got 0"),
    ("y.stride.3", 0, "y: expected a stride above 0 on axis 3"),
    ("y.stride.2", 4, "y: expected a stride above 4 on axis 2, so that its elements do not overlap, got 4"),
    ("y_thresholds_size", 4, "y thresholds: expected data, got null"),
    ("thresholds", None, "thresholds: expected data, got null"),
    ("thresholds_size", 7, "thresholds: expected 8 values, got 7"),
    ("x_levels_size", 1, "x levels: expected 2 values, got 1"),
    ("weight_bits_size", 35, "weight bits: expected 36 values, got 35"),
    ("weight_bits", None, "weight bits: expected data, got null"),
    ("w_levels_size", 4, "w levels: expected 8 values, got 4"),
    ("bias_size", 4, "bias: expected data, got null"),
    ("kernel", b"abacus", "kernel: 'abacus' is none of this CPU"),
)


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_call_that_does_not_fit_is_refused(built: Engine, path: str, value: Any, message: str) -> None:
    sound = Sound(built)
    if message.startswith("x: its data is not aligned"):
        sound.call.x.data += 4
    change(sound.call, path, value)
    with pytest.raises(EngineError, match=message):
        sound.weights.convolve(sound.call)


def test_the_call_is_right_as_it_stands(built: Engine) -> None:
    sound = Sound(built)
    sound.weights.convolve(sound.call)
    assert sound.weights.held > 0


def test_forms_that_are_not_used_any_more_are_freed(built: Engine) -> None:
    sound = Sound(built)
    sound.call.kernel = built.kernels[-1].encode()
    sound.weights.convolve(sound.call)
    one = sound.weights.held
    sound.call.kernel = b"portable"
    sound.weights.convolve(sound.call)
    both = sound.weights.held
    assert both > one > 0
    expected = sound.kept[1].clone()
    for _ in range(2 * 256):
        sound.weights.convolve(sound.call)
    assert sound.weights.held == both - one
    sound.call.kernel = built.kernels[-1].encode()
    sound.weights.convolve(sound.call)
    assert sound.weights.held == both
    assert torch.equal(sound.kept[1], expected)


def test_forms_may_be_freed_while_other_threads_compute(built: Engine) -> None:
    weights, kernels = built.weights(SHAPE), [name.encode() for name in built.kernels]
    sounds = [Sound(built) for _ in range(4)]
    for sound in sounds:
        sound.kept[0].copy_(sounds[0].kept[0])
    weights.convolve(sounds[0].call)
    expected = sounds[0].kept[1].clone()

    def compute(sound: Sound) -> bool:
        is_right = True
        for call in range(2000):
            sound.call.kernel = kernels[call // 300 % len(kernels)]
            sound.kept[1].zero_()
            weights.convolve(sound.call)
            is_right &= torch.equal(sound.kept[1], expected)
        return is_right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compute, sounds))


def test_a_residual_must_fit_too(built: Engine) -> None:
    sound = Sound(built)
    residual = torch.zeros(1, 4, 5, 5)
    sound.call.residual = tensor(residual)
    sound.weights.convolve(sound.call)
    sound.call.residual.size -= 1
    with pytest.raises(EngineError, match="residual: its strides reach element 99 of 99"):
        sound.weights.convolve(sound.call)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("y_bits.size", 24, "y bits: its strides reach element 24 of 24"),
        ("y_bits.shape.1", 4, "y bits: expected 1 on axis 1, got 4"),
        ("y_bits.stride.2", 1, "y bits: expected a stride above 4 on axis 2|axis 3"),
        ("y_thresholds", None, "y thresholds: expected data, got null"),
        ("y_thresholds_size", 3, "y thresholds: expected 4 values, got 3"),
    ],
)
def test_bits_must_fit_too(built: Engine, path: str, value: Any, message: str) -> None:
    sound, bits, thresholds = Sound(built), torch.zeros(1, 1, 5, 5).long(), torch.zeros(4)
    sound.call.y_bits = tensor(bits)
    sound.call.y_thresholds, sound.call.y_thresholds_size = thresholds.data_ptr(), 4
    sound.call.y.data = None
    sound.weights.convolve(sound.call)
    change(sound.call, path, value)
    with pytest.raises(EngineError, match=message):
        sound.weights.convolve(sound.call)


def test_slopes_need_prelu(built: Engine) -> None:
    sound = Sound(built)
    sound.call.slope, sound.call.slope_size = sound.call.thresholds, 4
    with pytest.raises(EngineError, match="slope: expected null without FXBIN_PRELU"):
        sound.weights.convolve(sound.call)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels: expected 1 to 16777216, got 0"),
        ({"filters": 1 << 30}, "filters: expected 1 to"),
        ({"groups": 3}, "groups: expected a divisor of channels and filters"),
        ({"kernel": (0, 3)}, "kernel: expected 1 to"),
        ({"kernel": (1 << 20, 1 << 20)}, r"kernel height \* width: expected 1 to"),
        ({"kernel": (1 << 10, 1 << 11)}, "inputs of a filter: expected 1 to 8388608, got 16777216"),
        ({"channels": 1 << 23, "filters": 1 << 24, "kernel": (1, 1)}, "weights: expected 1 to"),
        ({"stride": (1, 0)}, "stride: expected 1 to"),
        ({"dilation": (-1, 1)}, "dilation: expected 1 to"),
        ({"padding": (0, 0, 0, -1)}, "padding: expected 0 to"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(built: Engine, changes: dict[str, Any], message: str) -> None:
    fields = {name: getattr(SHAPE, name) for name in SHAPE.__dataclass_fields__} | changes
    with pytest.raises(EngineError, match=message):
        built.weights(ConvShape(**fields))


def test_output_sizes(built: Engine) -> None:
    assert built.output_size(SHAPE, (5, 7)) == (5, 7)
    with pytest.raises(EngineError, match="input size: 3 with its padding is smaller than the kernel, 9"):
        built.output_size(ConvShape(1, 1, 1, (3, 3), (1, 1), (4, 4), (1, 1, 1, 1)), (1, 1))


def test_null_pointers_are_refused(built: Engine) -> None:
    functions = built._functions
    nothing: Callable[..., int]
    for nothing in (
        lambda: functions.fxbin_weights_create(None, None),
        lambda: functions.fxbin_weights_create(ctypes.byref(SHAPE.as_struct()), None),
        lambda: functions.fxbin_output_size(ctypes.byref(SHAPE.as_struct()), None, None),
        lambda: functions.fxbin_convolve(None, None),
        lambda: functions.fxbin_convolve(Sound(built).weights._handle, None),
    ):
        assert nothing() == 1
        assert "null" in functions.fxbin_last_error().decode()
    functions.fxbin_weights_destroy(None)
    assert functions.fxbin_weights_held(None) == 0


def test_the_host_may_run_the_threads(built: Engine) -> None:
    sound = Sound(built)
    indices: list[int] = []
    body_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    parallel_for = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, body_type, ctypes.c_void_p)

    def in_reverse(_context: int, count: int, body: Any, body_context: int) -> None:
        for index in reversed(range(count)):
            indices.append(index)
            body(body_context, index)

    callback = parallel_for(in_reverse)
    sound.weights.convolve(sound.call)
    expected, _ = sound.kept[1].clone(), sound.kept[1].zero_()
    sound.call.parallel_for = ctypes.cast(callback, ctypes.c_void_p).value
    sound.weights.convolve(sound.call)
    assert torch.equal(sound.kept[1], expected)
    assert 0 in indices


@pytest.mark.parametrize(
    ("most", "left_out"),
    [
        ("portable", {"popcnt", "avx2", "avx512", "neon"}),
        ("popcnt", {"avx2", "avx512"}),
        ("avx2", {"avx512"}),
    ],
)
def test_instructions_can_be_limited(built: Engine, most: str, left_out: set[str]) -> None:
    code = "from fxbin.engine.library import engine; print(*engine().kernels)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FXBIN_MAX_CPU": most},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [name for name in built.kernels if not any(part in name for part in left_out)]
    assert ran.stdout.split() == expected


def test_an_unknown_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXBIN_MAX_CPU", "AVX")
    with pytest.raises(EngineError, match=r"FXBIN_MAX_CPU: expected one of .*'avx2'.*, got 'AVX'"):
        engine_or_why_not.__wrapped__()
