"""``torch.ops.fxbin.binary_conv2d`` against `F.conv2d`, its kernels against each other, and its errors."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.engine.binary_conv2d import ACTIVATIONS
from fxbin.engine.in_float import run_in_float
from fxbin.engine.library import Engine
from fxbin.engine.native import held_bytes
from fxbin.engine.signs import pack_channels, pack_signs, unpack_channels, unpack_signs
from fxbin.errors import EngineError
from tests.engine.cases import Case, random_cases

binary_conv2d = torch.ops.fxbin.binary_conv2d
binary_conv2d_to_bits = torch.ops.fxbin.binary_conv2d_to_bits
binary_conv2d_and_bits = torch.ops.fxbin.binary_conv2d_and_bits


def plain(channels: int = 8, filters: int = 4, groups: int = 1, kernel: int = 3, **kwargs: Any) -> Case:
    """A convolution of zeros and ones by signs, of 3x3 with a padding of 1 by default."""
    x, weight = torch.randn(2, channels, 6, 6), torch.randn(filters, channels // groups, kernel, kernel)
    levels = torch.tensor([0.0, 1.0]), torch.tensor([[-1.0], [1.0]]).repeat(1, filters)
    args = (x, torch.zeros(channels), levels[0], pack_signs(weight), levels[1], None)
    geometry = {
        "kernel_size": (kernel, kernel),
        "stride": (1, 1),
        "padding": (1, 1, 1, 1),
        "dilation": (1, 1),
    }
    return Case(args, geometry | {"groups": groups} | kwargs, weight)


@pytest.mark.parametrize("seed", range(4))
def test_random_convolutions_are_exact(built: Engine, seed: int) -> None:
    for case in random_cases(25, seed):
        assert torch.equal(case.run().double(), case.expected()), case.kwargs


def test_every_kernel_gives_the_same_bits(built: Engine) -> None:
    assert built.kernels[0] == "portable"
    for case in random_cases(40, seed=10):
        _, thresholds, _, *_ = case.args
        any_levels = torch.randn(2), torch.randn(2, len(case.weight))
        case.args = (case.args[0], thresholds, any_levels[0], case.args[3], any_levels[1], None)
        first = case.run("portable")
        torch.testing.assert_close(first.double(), case.expected(), rtol=1e-5, atol=1e-4)
        for name in built.kernels[1:]:
            assert torch.equal(case.run(name), first), (name, case.kwargs)


def test_operators_of_pytorch_give_the_same_bits(built: Engine) -> None:
    for case in random_cases(40, seed=20):
        case.args = (*case.args[:4], torch.randn(2, len(case.weight)), None)
        (in_float,) = run_in_float(case.checked())
        found = case.run()
        assert torch.equal(found, in_float), case.kwargs
        assert found.stride() == in_float.stride()


def y_thresholds(case: Case) -> Tensor:
    """Some that about half of the output is above, and some of its numbers are on."""
    return case.run().float().mean((0, 2, 3)).mul(4).round().div(4)


def test_bits_are_those_of_the_floats(built: Engine) -> None:
    for case in random_cases(60, seed=30):
        thresholds, y = y_thresholds(case), case.run()
        expected = pack_channels(y > thresholds.view(-1, 1, 1))
        arguments = {**case.kwargs, **case.options, "y_thresholds": thresholds}
        for name in (None, *built.kernels):
            bits = binary_conv2d_to_bits(*case.args, **arguments, kernel_name=name)
            floats, both = binary_conv2d_and_bits(*case.args, **arguments, kernel_name=name)
            assert torch.equal(bits, expected), (name, case.kwargs)
            assert torch.equal(floats, y)
            assert torch.equal(both, expected)
            is_last = floats.stride(1) == 1 and y[0, 0].numel() > 1 < y.shape[1]
            assert not is_last or bits.stride(1) == 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("odd", [1.0, torch.inf, torch.nan])
def test_bits_alone_are_right_whatever_the_numbers(built: Engine, activation: str, odd: float) -> None:
    """Kernels may compare sums in place of floats: where y is on its threshold, overflows or is no number."""
    case = plain(channels=70, filters=67)
    x = torch.randn(2, 70, 19, 23).contiguous(memory_format=torch.channels_last)
    w_high = torch.tensor([0.0, -0.0, 1e-45, -1e-3, 0.75, -2.0, 3e38, -3e38]).repeat(9)[:67]
    bias = torch.tensor([0.0, -0.0, 3.0, -3.0, 1e38, -1e38, odd]).repeat(10)[:67]
    slope = torch.tensor([0.25, -0.5, 0.0, odd, 2.0]).repeat(14)[:67] if activation == "prelu" else None
    case.args = x, torch.randn(70) * 0.3, *case.args[2:4], torch.stack([-w_high, w_high]), bias
    case.options = {"activation": activation, "slope": slope}
    y = case.run("portable")
    on_values = y[1, torch.arange(67), torch.arange(67) % 19, torch.arange(67) % 23]
    others = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan]).repeat(14)[:67]
    for thresholds in (on_values, others):
        expected = pack_channels(y > thresholds.view(-1, 1, 1))
        for name in (None, *built.kernels):
            arguments = {**case.kwargs, **case.options, "y_thresholds": thresholds, "kernel_name": name}
            assert torch.equal(binary_conv2d_to_bits(*case.args, **arguments), expected), name


def as_bits(case: Case) -> Case:
    """The same convolution, of bits in the layout of its input."""
    x, thresholds, *others = case.args
    bits = pack_channels(x > thresholds.view(-1, 1, 1))
    layout = torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
    made = torch.empty(bits.shape, dtype=bits.dtype, memory_format=layout).copy_(bits)
    return replace(case, args=(made, thresholds, *others))


def test_bits_are_read_as_the_floats_are(built: Engine) -> None:
    for case in random_cases(80, seed=31):
        y, of_bits = case.run(), as_bits(case)
        for name in (None, *built.kernels):
            assert torch.equal(of_bits.run(name), y), (name, case.kwargs)
        (in_float,) = run_in_float(of_bits.checked())
        assert torch.equal(in_float, y)
        assert in_float.stride() == of_bits.run().stride()


def calls_of(case: Case) -> Iterator[Case]:
    """Calls of the convolution of `case` with inputs of several sizes and layouts, and other epilogues."""
    x, *constants, bias = case.args
    residual = torch.tensor(1.0).expand(1, len(case.weight), 1, 1)
    for size in ((9, 9), (7, 12), (26, 26)):
        for layout in (torch.contiguous_format, torch.channels_last):
            other = torch.randn(1, x.shape[1], *size).contiguous(memory_format=layout)
            args = other, *constants
            for options in ({}, {"activation": "relu"}, {"residual": residual}):
                yield replace(case, args=(*args, bias), options=options)
            yield replace(case, args=(*args, None), options={})


CHANNELS_FILTERS_GROUPS = [(1, 1, 1), (1, 5, 1), (5, 1, 1), (6, 6, 6), (6, 12, 6), (8, 8, 2), (64, 64, 1)]


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize(("channels", "filters", "groups"), CHANNELS_FILTERS_GROUPS)
def test_calls_of_all_kinds_share_the_forms_of_a_weight(
    built: Engine, channels: int, filters: int, groups: int, kernel: int
) -> None:
    """Which kernel computes a call depends on size, layout and epilogue: none may read another one's form."""
    calls = list(calls_of(plain(channels, filters, groups, kernel)))
    random.Random(kernel).shuffle(calls)
    for case in calls:
        expected = case.expected()
        assert torch.equal(case.run().double(), expected), (case.args[0].shape, case.options)
        assert torch.equal(as_bits(case).run().double(), expected)
        arguments = {**case.kwargs, **case.options, "y_thresholds": torch.full((filters,), 0.5)}
        bits = binary_conv2d_to_bits(*case.args, **arguments)
        assert torch.equal(bits, pack_channels(expected > 0.5))


def test_words_hold_channels_in_order() -> None:
    fired = torch.rand(2, 130, 3, 4) < 0.5
    words = pack_channels(fired)
    assert words.shape == (2, 3, 3, 4)
    for channel in (0, 1, 62, 63, 64, 129):
        bit = words[:, channel // 64] >> channel % 64 & 1
        assert torch.equal(bit.bool(), fired[:, channel])
    assert torch.equal(unpack_channels(words, 130).bool(), fired)


def test_bits_past_the_last_channel_count_for_nothing(built: Engine) -> None:
    case = as_bits(plain())
    expected = case.run()
    case.args = (case.args[0] | ~0xFF, *case.args[1:])  # of 8 channels
    assert torch.equal(case.run(), expected)
    assert torch.equal(run_in_float(case.checked())[0], expected)


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (5, 2), (12, 12)])
@pytest.mark.parametrize("x_levels", [(0.0, 1.0), (-1.0, 1.0), (0.5, -0.25)])
@pytest.mark.parametrize("is_centred", [True, False])
def test_depthwise_side_by_side(
    built: Engine, kernel: tuple[int, int], x_levels: tuple[float, float], is_centred: bool
) -> None:
    channels, (height, width) = 100, kernel
    weight = torch.randn(channels, 1, *kernel)
    w_high = torch.randint(-4, 5, (channels,)) / 4
    w_levels = torch.stack([-w_high if is_centred else w_high + 1, w_high])
    x = torch.randn(2, channels, 13, 12).contiguous(memory_format=torch.channels_last)
    geometry = {
        "kernel_size": kernel, "stride": (2, 1), "dilation": (1, 1), "groups": channels,
        "padding": (height // 2, height // 2, 1, width),
    }  # fmt: skip
    args = x, torch.randn(channels) * 0.3, torch.tensor(x_levels), pack_signs(weight), w_levels, None
    case = Case(args, geometry, weight)
    y = case.run()
    assert torch.equal(y.double(), case.expected())
    for name in (None, *built.kernels):
        assert torch.equal(case.run(name), y)
        assert torch.equal(as_bits(case).run(name), y)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 7), (7, 9)])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 9, 16, 24, 31, 32])
def test_groups_of_few_channels_side_by_side(built: Engine, kernel: tuple[int, int], width: int) -> None:
    groups, filters = 11, {1: 5, 2: 1, 4: 4, 8: 8, 16: 16, 32: 2}.get(width, 3)
    weight = torch.randn(groups * filters, width, *kernel)
    weight[: weight.shape[0] // 2] = 1  # no count can be higher
    w_high = torch.randint(-4, 5, (groups * filters,)) / 4
    x = torch.randn(2, groups * width, 13, 12).contiguous(memory_format=torch.channels_last)
    geometry = {
        "kernel_size": kernel, "stride": (2, 1), "dilation": (1, 1), "groups": groups,
        "padding": (kernel[0] // 2, kernel[0] // 2, 1, kernel[1]),
    }  # fmt: skip
    for x_levels in ((0.0, 1.0), (0.5, -0.25)):
        thresholds = torch.randn(groups * width) - 0.7
        args = x, thresholds, torch.tensor(x_levels), pack_signs(weight), torch.stack([-w_high, w_high]), None
        case = Case(args, geometry, weight)
        y = case.run()
        assert torch.equal(y.double(), case.expected())
        for name in (None, *built.kernels):
            assert torch.equal(case.run(name), y)
            assert torch.equal(as_bits(case).run(name), y)


@pytest.mark.parametrize("channels", [16382, 16383, 32764, 32768, 65535, 65536])
def test_many_inputs_that_all_fire(built: Engine, channels: int) -> None:
    """About as many as 16 bits can count, with a sign or without."""
    case = plain(channels, filters=3, kernel=1, padding=(0, 0, 0, 0))
    case.weight[0] = 1
    case.args = (torch.ones(1, channels, 1, 1), *case.args[1:3], pack_signs(case.weight), *case.args[4:])
    expected, took = case.expected(), []
    assert torch.equal(case.run().double(), expected)
    for name in built.kernels:
        try:
            found = case.run(name)
        except EngineError as error:
            assert "is none of this CPU, or does not take this shape" in str(error)  # noqa: PT017
        else:
            assert torch.equal(found.double(), expected)
            took.append(name)
    assert "portable" in took


@pytest.mark.parametrize("bound", [-9.0, 9.0])
def test_kernels_count_all_inputs_and_none(built: Engine, bound: float) -> None:
    case = plain(channels=512, filters=256)
    case.weight[:100] = 1  # so that no count can be higher
    x, _, x_levels, _, *rest = case.args
    case.args = (x, torch.full((512,), bound), x_levels, pack_signs(case.weight), *rest)
    expected = case.expected()
    for name in built.kernels:
        assert torch.equal(case.run(name).double(), expected), name


@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_bands_and_tiles_of_a_large_picture(built: Engine, share: float) -> None:
    case = plain(channels=40, filters=70, stride=(2, 1), dilation=(1, 2))
    x = torch.rand(1, 40, 131, 67).contiguous(memory_format=torch.channels_last)
    case.args = (x, torch.full((40,), 1 - share), *case.args[2:])
    expected = case.expected()
    for name in (None, *built.kernels):
        assert torch.equal(case.run(name).double(), expected)


def test_threads_give_the_same_bits(built: Engine) -> None:
    case = plain(channels=64, filters=128)
    x = torch.randn(3, 64, 41, 43)
    case.args = (x, *case.args[1:])
    alone = case.run()
    try:
        torch.set_num_threads(3)
        assert torch.equal(case.run(), alone)
    finally:
        torch.set_num_threads(1)


FORKING = """
import os
import torch
import fxbin
from torch import nn

torch.set_num_threads(2)
model = fxbin.transform(nn.Sequential(nn.Conv2d(64, 64, 3)), {
    "input_info": {"sample_size": [1, 64, 66, 66]}, "compression": {"algorithm": "binarization"},
})
model.binarization.enable(activations=True, weights=True)
x = torch.randn(1, 64, 66, 66)  # enough work for two threads
model(x)
deployed = fxbin.deploy(model.eval())
expected = deployed(x).numpy().tobytes()
child = os.fork()
if child == 0:  # nothing here may run in PyTorch's own threads
    os._exit(0 if deployed(x).numpy().tobytes() == expected else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_threads_in_a_forked_process(built: Engine) -> None:
    """PyTorch's threads do not exist there; GNU's OpenMP runtime would wait for them forever."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "0\n"


def test_calls_from_several_threads_share_the_weights(built: Engine) -> None:
    case = plain(channels=64, filters=128)
    expected = case.run()
    case.args = (*case.args[:3], case.args[3].clone(), *case.args[4:])  # of which the engine has no form
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: case.run(), range(64)):
            assert torch.equal(found, expected)


def test_thresholds_are_strict_and_nan_is_low(built: Engine) -> None:
    values = torch.tensor([0.0, -0.0, 1e-45, -1e-45, float("nan"), float("inf"), float("-inf"), 0.25])
    weight = torch.ones(1, 1, 1, 1)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        x = values.to(dtype).view(1, 1, 1, -1)
        for bound in (0.0, 0.25, float("inf"), float("nan")):
            t = torch.tensor([bound], dtype=dtype)
            levels = torch.tensor([0.0, 1.0]), torch.tensor([[-1.0], [1.0]])
            y = binary_conv2d(x, t, levels[0], pack_signs(weight), levels[1], kernel_size=(1, 1))
            assert y.dtype == dtype
            assert torch.equal(y, (x > t).to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(built: Engine, dtype: torch.dtype) -> None:
    case = plain(channels=20, filters=7)
    x = case.args[0].to(dtype)
    case.args = (x, torch.randn(20).to(dtype), *case.args[2:])
    case.options["residual"] = torch.randint(-3, 4, (2, 7, 6, 6)).to(dtype)
    y = case.run()
    assert y.dtype == dtype
    assert torch.equal(y.double(), case.expected())


def test_any_strides_are_read_right(built: Engine) -> None:
    case = plain()
    whole = torch.randn(2, 12, 13, 9)
    views = (
        whole[:, 2:10, ::2, 1:7],
        whole.permute(0, 1, 3, 2)[:, :8, :6, ::2],
        whole[:1, :8, :6, :6].expand(2, -1, -1, -1),
        torch.randn(8).view(1, 8, 1, 1).expand(2, -1, 6, 6),
        torch.randn(1, 12, 6, 6).contiguous(memory_format=torch.channels_last)[:, 3:11],
    )
    for x in views:
        case.args = (x, *case.args[1:])
        assert torch.equal(case.run().double(), case.expected())


def test_the_layout_of_the_output_is_that_of_the_input(built: Engine) -> None:
    case = plain()
    assert case.run().is_contiguous()
    x = case.args[0].contiguous(memory_format=torch.channels_last)
    case.args = (x, *case.args[1:])
    assert case.run().is_contiguous(memory_format=torch.channels_last)


def between_items(values: Tensor) -> Tensor:
    """A copy of `values` at an address that is no multiple of their size."""
    memory = bytearray(values.nbytes + 1)
    copy = torch.frombuffer(memory, dtype=values.dtype, offset=1, count=values.numel()).view(values.shape)
    assert copy.data_ptr() % values.element_size()
    return copy.copy_(values)


def test_any_address_is_read_right(built: Engine) -> None:
    case = next(
        case for case in random_cases(99, seed=0) if len(case.options) == 3 and case.args[5] is not None
    )
    expected = case.expected()
    case.args = tuple(between_items(each) if each.element_size() > 1 else each for each in case.args)
    case.options |= {name: between_items(case.options[name]) for name in ("residual", "slope")}
    assert torch.equal(case.run().double(), expected)


def test_more_threads_than_the_engine_takes(built: Engine) -> None:
    threads, case = torch.get_num_threads(), plain()
    expected = case.run()
    torch.set_num_threads(1025)  # one more than the C interface allows
    try:
        assert torch.equal(case.run(), expected)
    finally:
        torch.set_num_threads(threads)


def test_an_empty_batch_gives_an_empty_output(built: Engine) -> None:
    case = plain()
    case.args = (case.args[0][:0], *case.args[1:])
    assert case.run().shape == (0, 4, 6, 6)


def test_padding_wider_than_the_picture(built: Engine) -> None:
    case = plain(padding=(9, 0, 3, 14), stride=(4, 5))
    assert torch.equal(case.run().double(), case.expected())


def test_more_filters_than_groups(built: Engine) -> None:
    case = plain(channels=70, filters=140, groups=70)
    assert torch.equal(case.run().double(), case.expected())


def test_weights_that_are_written_to_are_taken_anew(built: Engine) -> None:
    case = plain()
    case.run()
    assert held_bytes(case.args[3]) > 0
    case.weight = -case.weight
    case.args[3].copy_(pack_signs(case.weight))
    assert torch.equal(case.run().double(), case.expected())


def test_weights_that_are_written_to_in_inference_mode_are_taken_anew(built: Engine) -> None:
    case = plain()
    with torch.inference_mode():
        case.args = tuple(None if each is None else each.clone() for each in case.args)
        assert torch.equal(case.run().double(), case.expected())
        held = held_bytes(case.args[3])
        assert torch.equal(case.run().double(), case.expected())
        assert held_bytes(case.args[3]) == held > 0
        case.weight = -case.weight
        case.args[3].copy_(pack_signs(case.weight))
        assert torch.equal(case.run().double(), case.expected())


def test_weights_are_kept_as_long_as_their_tensor(built: Engine) -> None:
    from fxbin.engine.native import _prepared

    case = plain()
    before = len(_prepared)
    case.run()
    assert len(_prepared) == before + 1
    del case
    assert len(_prepared) == before


def test_signs_survive_packing() -> None:
    for channels in (1, 7, 8, 9, 64, 65):
        weight = torch.randn(3, channels, 2, 3)
        weight[0, 0] = 0
        bits = pack_signs(weight)
        assert bits.shape == (3, 6, -(-channels // 8))
        assert torch.equal(unpack_signs(bits, channels, (2, 3)), torch.where(weight > 0, 1.0, -1.0))


@pytest.mark.parametrize("operator", [binary_conv2d, binary_conv2d_to_bits, binary_conv2d_and_bits])
@pytest.mark.parametrize("form", [Case, as_bits])
def test_operators_keep_the_promises_of_their_schemas(
    built: Engine, operator: Any, form: Callable[..., Case]
) -> None:
    case = plain() if form is Case else as_bits(plain())
    options = {} if operator is binary_conv2d else {"y_thresholds": torch.zeros(4)}
    utilities = "test_schema", "test_faketensor"
    torch.library.opcheck(operator, case.args, {**case.kwargs, **options}, test_utils=utilities)


class Scaled(nn.Module):
    """A two-level convolution between other operators."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.bits = nn.Buffer(case.args[3])
        self.case = case

    def forward(self, x: Tensor) -> Tensor:
        _, thresholds, x_levels, _, w_levels, _ = self.case.args
        kwargs = self.case.kwargs
        y: Tensor = binary_conv2d(x * 2, thresholds, x_levels, self.bits, w_levels, **kwargs)
        return y.relu() + 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_compiled_and_exported(built: Engine, layout: torch.memory_format) -> None:
    model = Scaled(plain())
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=layout)
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},)).module()
    compiled = torch.compile(model, fullgraph=True)
    for size in (2, 5):
        x = torch.randn(size, 8, 6, 6).contiguous(memory_format=layout)
        assert torch.equal(exported(x), model(x))
        assert torch.equal(compiled(x), model(x))


CHANGES: dict[str, tuple[Callable[[Case], None], str]] = {
    "three axes": (
        lambda case: put(case, 0, torch.zeros(8, 6, 6)),
        r"x: expected floats \(n, c, h, w\), or bits in int64, got torch.float32 \(8, 6, 6\)",
    ),
    "integers": (
        lambda case: put(case, 0, torch.zeros(2, 8, 6, 6, dtype=torch.int32)),
        "x: expected floats",
    ),
    "thresholds": (
        lambda case: put(case, 1, torch.zeros(7)),
        r"x: expected 7 channels for 7 thresholds, got \(2, 8, 6, 6\)",
    ),
    "axes of thresholds": (
        lambda case: put(case, 1, torch.zeros(8, 1)),
        r"thresholds: expected 1 axis, got \(8, 1\)",
    ),
    "words": (
        lambda case: put(case, 0, torch.zeros(2, 2, 6, 6).long()),
        r"x: expected 1 words for 8 thresholds, got \(2, 2, 6, 6\)",
    ),
    "threshold dtype": (lambda case: put(case, 1, torch.zeros(8).double()), "got torch.float64"),
    "x_levels": (lambda case: put(case, 2, torch.zeros(3)), "x_levels: expected"),
    "weight_bits": (
        lambda case: put(case, 3, case.args[3][:, :8].contiguous()),
        r"weight_bits: expected torch.uint8 \(4, 9, 1\) on cpu, got torch.uint8 \(4, 8, 1\) on cpu",
    ),
    "axes of weight_bits": (lambda case: put(case, 3, torch.zeros(4)), "weight_bits: expected 3 axes"),
    "w_levels": (lambda case: put(case, 4, torch.zeros(2, 5)), "w_levels: expected"),
    "device": (lambda case: put(case, 4, torch.zeros(2, 4, device="meta")), "w_levels: .* on meta"),
    "bias": (lambda case: put(case, 5, torch.zeros(5)), "bias: expected"),
    "groups": (lambda case: case.kwargs.update(groups=3), "groups: expected a divisor of 8 channels and 4"),
    "stride": (lambda case: case.kwargs.update(stride=(0, 1)), "stride: expected numbers of 1 or more"),
    "dilation": (lambda case: case.kwargs.update(dilation=(1, -1)), "dilation: expected numbers of 1"),
    "padding": (lambda case: case.kwargs.update(padding=(0, -1, 0, 0)), "padding: expected numbers of 0"),
    "too small": (lambda case: case.kwargs.update(dilation=(9, 1)), "is smaller than the kernel"),
    "activation": (lambda case: case.options.update(activation="gelu"), "activation: expected one of"),
    "slope": (lambda case: case.options.update(slope=torch.zeros(4)), "slope: expected it with"),
    "no slope": (lambda case: case.options.update(activation="prelu"), "slope: expected it with"),
    "residual": (lambda case: case.options.update(residual=torch.zeros(2, 4, 6, 5)), "residual: expected"),
}


def put(case: Case, position: int, value: Tensor) -> None:
    """Replace an argument."""
    case.args = (*case.args[:position], value, *case.args[position + 1 :])


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_fit_is_an_error(built: Engine, change: str) -> None:
    case = plain()
    apply, message = CHANGES[change]
    apply(case)
    with pytest.raises(EngineError, match=message):
        case.run()


def test_unknown_kernels_are_an_error(built: Engine) -> None:
    with pytest.raises(EngineError, match="kernel: 'abacus' is none of this CPU"):
        plain().run("abacus")


def test_levels_of_a_convolution_by_hand(built: Engine) -> None:
    x = torch.tensor([[[[0.2, 0.9], [0.7, 0.1]]]])
    weight = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])
    args = (
        x,
        torch.tensor([0.5]),
        torch.tensor([-1.0, 3.0]),
        pack_signs(weight),
        torch.tensor([[2.0], [5.0]]),
    )
    y = binary_conv2d(*args, kernel_size=(2, 2))
    # -1 * 5 + 3 * 2 + 3 * 2 + -1 * 5
    assert y.flatten().tolist() == [2.0]
    padded = binary_conv2d(*args, kernel_size=(2, 2), padding=(1, 0, 1, 0))
    w = torch.where(weight > 0, 5.0, 2.0)
    assert torch.equal(padded, F.conv2d(F.pad(torch.where(x > 0.5, 3.0, -1.0), (1, 0, 1, 0)), w))
