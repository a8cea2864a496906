"""``torch.ops.fxbin.int8_conv2d`` against PyTorch's fake quantization, in both ways, and its errors."""

import ctypes
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

# Imported for what it declares: torch.ops.fxbin.
import fxbin.engine.operators  # noqa: F401
from fxbin import torch_private
from fxbin.engine.int8_conv2d import runs_on_bytes
from fxbin.engine.library import Engine
from fxbin.engine.max_pool2d import max_pool2d
from fxbin.errors import EngineError

int8_conv2d = torch.ops.fxbin.int8_conv2d


@pytest.fixture(params=["on bytes", "in float"])
def _way(request: pytest.FixtureRequest, built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operator work in each of both ways."""
    if request.param == "in float":
        monkeypatch.setattr(torch_private, "has_vnni", lambda: False)
    elif not runs_on_bytes(torch.zeros(1)):
        pytest.skip("this CPU has no AVX-512 VNNI")


def constants(filters: int, channels: int, kernel: tuple[int, int]) -> tuple[Tensor, ...]:
    """Weight, its scales, scale and zero point of the input, bias."""
    weight = torch.randint(-127, 128, (filters, channels, *kernel), dtype=torch.int8)
    scales = torch.rand(filters) / 500
    return weight, scales, torch.tensor([0.03]), torch.tensor([100]), torch.randn(filters)


def expected(x: Tensor, args: tuple[Tensor, ...], **geometry: Any) -> Tensor:
    """In float64, by PyTorch's fake quantization."""
    weight, scales, x_scale, x_zero_point, bias = args
    levels = torch.fake_quantize_per_tensor_affine(x, x_scale, x_zero_point.int(), 0, 255)
    w = weight.double() * scales.double().view(-1, 1, 1, 1)
    return F.conv2d(levels.double(), w, bias.double(), **geometry)


CASES: list[tuple[tuple[int, ...], int, tuple[int, int], dict[str, Any]]] = [
    ((1, 3, 32, 30), 64, (7, 7), {"stride": (2, 2), "padding": (3, 3)}),
    ((3, 64, 9, 9), 40, (1, 1), {"stride": (2, 1)}),
    ((2, 16, 9, 8), 32, (3, 2), {"padding": (2, 1), "dilation": (2, 1), "groups": 4}),
    ((1, 8, 9, 8), 8, (3, 3), {"padding": (1, 1), "groups": 8}),
    ((5, 70, 1, 1), 33, (1, 1), {}),
    ((1, 8, 1, 1), 8, (1, 1), {"padding": (1, 1)}),
    ((0, 8, 5, 5), 4, (3, 3), {}),
]


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("shape", "filters", "kernel", "geometry"), CASES)
def test_it_equals_fake_quantization(
    shape: tuple[int, ...],
    filters: int,
    kernel: tuple[int, int],
    geometry: dict[str, Any],
    layout: torch.memory_format,
) -> None:
    # Some values are outside of the range; none is halfway between two levels.
    x = (torch.randint(-130, 190, shape) * 0.03 + 0.01).contiguous(memory_format=layout)
    args = constants(filters, shape[1] // geometry.get("groups", 1), kernel)
    y, wanted = int8_conv2d(x, *args, **geometry), expected(x, args, **geometry)
    assert y.dtype == torch.float32
    assert y.shape == wanted.shape
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)


POOLS = ([3, 3, 2, 2, 1, 1], [2, 3, 1, 4, 1, 0], [5, 2, 3, 2, 2, 1], [1, 1, 1, 1, 0, 0], [4, 4, 2, 3, 2, 2])


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", [(2, 5, 11, 9), (1, 5, 9, 14), (0, 5, 9, 9)])
def test_outputs_are_rounded_and_pooled(pool: list[int], relu: bool, shape: tuple[int, ...]) -> None:
    x, args = torch.randn(shape).contiguous(memory_format=torch.channels_last), constants(6, 5, (3, 3))
    y_scale, y_zero_point = torch.tensor([0.05]), torch.tensor([0 if relu else 70])
    y = int8_conv2d(x, *args, y_scale, y_zero_point, padding=(1, 1), relu=relu, pool=pool)
    wanted = expected(x, args, padding=(1, 1)).float()
    levels = torch.fake_quantize_per_tensor_affine(wanted, y_scale, y_zero_point.int(), 0, 255)
    wanted = F.max_pool2d(levels.relu() if relu else levels, pool[:2], pool[2:4], pool[4:])
    assert y.shape == wanted.shape
    assert y.is_contiguous(memory_format=torch.channels_last)
    if y.numel():
        assert (y - wanted).abs().max() < 0.051  # a number halfway between two levels
        assert ((y - wanted).abs() > 0.01).float().mean() < 0.02


@pytest.mark.usefixtures("_way")
def test_relu_without_a_pooling() -> None:
    for shape in ((2, 5, 7, 7), (3, 5, 1, 1)):
        x, args = torch.randn(shape), constants(6, 5, (1, 1))
        y = int8_conv2d(x, *args, relu=True)
        torch.testing.assert_close(y.double(), expected(x, args).relu(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bytes_are_pooled_as_floats_are(layout: torch.memory_format) -> None:
    for pool in POOLS:
        for size in ((5, 5), (7, 12), (12, 6), (4, 9)):
            x = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8).contiguous(memory_format=layout)
            y = max_pool2d(x, pool[:2], pool[2:4], pool[4:])
            assert torch.equal(y.float(), F.max_pool2d(x.float(), pool[:2], pool[2:4], pool[4:])), (
                pool,
                size,
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": [2, 2, 2, 2, 0, 0]}, "pool: expected six numbers with y_scale and y_zero_point, or none"),
        ({"y_scale": torch.ones(1)}, "pool: expected six numbers with y_scale and y_zero_point, or none"),
        ({"pool": [2, 2]}, "pool: expected six numbers"),
        ({"pool": [2, 2, 2, 2, 2, 2]}, "paddings up to half the size"),
        ({"pool": [2, 2, 0, 2, 1, 1]}, "pool: expected sizes and strides above 0"),
        ({"pool": [9, 9, 1, 1, 0, 0]}, r"pool: an output of \(6, 6\) is smaller than the window \[9, 9\]"),
    ],
)
def test_poolings_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    args = torch.randn(1, 3, 8, 8), *constants(5, 3, (3, 3))
    if not message.endswith("or none"):
        options = options | {"y_scale": torch.ones(1), "y_zero_point": torch.zeros(1).long()}
    with pytest.raises(EngineError, match=message):
        int8_conv2d(*args, **options)


@pytest.mark.usefixtures("_way")
def test_values_that_are_no_numbers_become_levels() -> None:
    x = torch.tensor([torch.nan, -torch.inf, torch.inf, -0.0, 1e30, -1e30]).view(1, 1, 1, 6)
    weight = torch.ones(1, 1, 1, 1, dtype=torch.int8)
    y = int8_conv2d(x, weight, torch.ones(1), torch.tensor([0.5]), torch.tensor([10]), None)
    assert y.flatten().tolist() == [-5, -5, 122.5, 0, 122.5, -5]


@pytest.mark.usefixtures("_way")
def test_what_is_written_to_is_packed_again() -> None:
    x, args = torch.rand(1, 3, 6, 6), constants(5, 3, (3, 3))
    int8_conv2d(x, *args)
    for constant in args:
        constant.copy_((constant.double() * 0.5).to(constant.dtype))
        torch.testing.assert_close(int8_conv2d(x, *args).double(), expected(x, args), rtol=1e-5, atol=1e-5)
    with torch.inference_mode():  # whose tensors do not tell that they are written to
        args = constants(5, 3, (3, 3))
        int8_conv2d(x, *args)
        args[0].mul_(-1)
        torch.testing.assert_close(int8_conv2d(x, *args).double(), expected(x, args), rtol=1e-5, atol=1e-5)


def test_compilers_know_it() -> None:
    args = torch.randn(2, 3, 8, 8), *constants(4, 3, (3, 3))
    torch.library.opcheck(int8_conv2d.default, args, {"stride": (2, 2), "padding": (1, 1)})
    args = *args, torch.ones(1), torch.zeros(1).long()
    torch.library.opcheck(int8_conv2d.default, args, {"relu": True, "pool": [3, 3, 2, 2, 1, 1]})


@pytest.mark.parametrize(
    ("index", "wrong", "message"),
    [
        (0, torch.randn(3, 6, 6), "x: expected torch.float32 of 4 axes on cpu, got torch.float32 of"),
        (0, torch.randn(1, 3, 6, 6).double(), "x: expected torch.float32"),
        (0, torch.randn(1, 4, 6, 6), "x: expected 3 channels"),
        (0, torch.randn(1, 3, 6, 2), r"x: \(6, 2\) with the padding \[0, 0\] is smaller than the kernel"),
        (1, torch.randn(5, 3, 3, 3), "weight: expected torch.int8"),
        (2, torch.rand(4), r"weight_scales: expected torch.float32 of \(5,\)"),
        (3, torch.tensor(0.1), "x_scale: expected"),
        (4, torch.tensor([0.1]), "x_zero_point: expected torch.int64"),
        (5, torch.rand(4), "bias: expected"),
    ],
)
def test_arguments_that_do_not_fit(index: int, wrong: Tensor, message: str) -> None:
    args = [torch.randn(1, 3, 6, 6), *constants(5, 3, (3, 3))]
    args[index] = wrong
    with pytest.raises(EngineError, match=message):
        int8_conv2d(*args)


def test_a_wrong_geometry() -> None:
    args = torch.randn(1, 3, 6, 6), *constants(5, 3, (3, 3))
    with pytest.raises(EngineError, match="expected 1 or more"):
        int8_conv2d(*args, stride=(0, 1))


@pytest.mark.parametrize("size", [0, 1, 7, 100, (1 << 18) + 3])
def test_levels_are_rounded_to_even_by_all_threads(built: Engine, size: int) -> None:
    x, y = torch.randint(-600, 600, (size,)) / 4, torch.empty(size, dtype=torch.uint8)
    if size:
        built.quantize(x, 2.0, 9, y, 3)
    assert torch.equal(y, (x * 2).round().add(9).clamp(0, 255).to(torch.uint8))


@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        (0, None, "x, y: expected pointers"),
        (4, None, "x, y: expected pointers"),
        (0, 3, "x: not aligned"),
        (1, -1, "y: expected as many"),
        (5, 7, "y: expected as many"),
        (2, 0.0, "inverse scale: expected"),
        (2, float("nan"), "inverse scale: expected"),
        (2, float("inf"), "inverse scale: expected"),
        (3, 256, "zero point: expected 0 to 255"),
        (6, 0, "threads: expected 1 to 1024"),
    ],
)
def test_the_door_of_the_c_function(built: Engine, argument: int, wrong: Any, message: str) -> None:
    x, y = (ctypes.c_float * 8)(), (ctypes.c_uint8 * 8)()
    arguments = [ctypes.addressof(x), 8, 1.0, 0, ctypes.addressof(y), 8, 1]
    arguments[argument] = ctypes.addressof(x) + 3 if wrong == 3 else wrong
    with pytest.raises(EngineError, match=message):
        built.check(built._functions.fxbin_quantize(*arguments))
