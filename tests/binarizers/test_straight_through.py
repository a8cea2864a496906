from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fxbin.binarizers import cpu_passes
from fxbin.binarizers.straight_through import binarize_activation, binarize_weight
from tests.zoo import DATA

FUNCTIONS: dict[str, Any] = torch.load(DATA / "functions.pt", weights_only=True)
ACTIVATION_CASES = FUNCTIONS["activation"]

LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


@pytest.fixture(autouse=True, params=["in few passes", "by formula"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test sees what a CPU runs, and what a compiler or another device does."""
    if request.param == "by formula":
        monkeypatch.setattr(cpu_passes, "applies_to", lambda _x: False)


def plain_activation(x: Tensor, s: float, t: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y and the gradients of x, s and t, element by element as the specification words them."""
    t = t.view(-1, 1, 1)
    zero = torch.zeros_like(x)
    y = torch.where(x > s * t, s, zero)
    grad_x = torch.where((x >= 0) & (x <= s), g, zero)
    grad_s = (g * torch.where(x <= s, (y - x) / s, 1)).sum()
    grad_t = torch.where((x > 0) & (x < s), -g, zero).transpose(0, -3).flatten(1).sum(1)
    return y, grad_x, grad_s.view(1), grad_t.view(1, -1, 1, 1)


def run_activation(
    x: Tensor,
    s: float,
    t: Tensor,
    g: Tensor,
    m: float = 1.0,
    dtype: torch.dtype = torch.float32,
    *,
    strict: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same from the code under test; s and t are of `dtype`."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    scale = torch.tensor([s], dtype=dtype, requires_grad=True)
    threshold = t.to(dtype).view(1, -1, 1, 1).clone().requires_grad_()
    y = binarize_activation(x, scale, threshold, m, strict=strict)
    y.backward(g)
    assert x.grad is not None
    assert scale.grad is not None
    assert threshold.grad is not None
    return y.detach(), x.grad, scale.grad, threshold.grad


def activations(n: int, c: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x with exact zeros, values on both sides of [0, 1] and exact ones, and an upstream gradient."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, size, size, generator=generator)
    x[x.abs() < 0.1] = 0.0
    x[(x > 0.9) & (x < 1.0)] = 1.0
    return x, torch.randn(n, c, size, size, generator=generator)


@pytest.mark.parametrize("case", ACTIVATION_CASES, ids=lambda case: case["case"])
def test_activation_is_that_of_nncf(case: dict[str, Any]) -> None:
    shape = case["x"].shape
    four_d = (*shape, 1, 1) if len(shape) == 2 else shape
    y, grad_x, grad_s, grad_t = run_activation(
        case["x"].view(four_d), case["scale"].item(), case["threshold"], case["grad_output"].view(four_d)
    )
    assert_close(y.view(shape), case["output"], rtol=0, atol=0)
    assert_close(grad_x.view(shape), case["grad_x"], rtol=0, atol=0)
    assert_close(grad_s, case["grad_scale"], rtol=1e-6, atol=1e-6)
    assert_close(grad_t.flatten(), case["grad_threshold"].flatten(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
def test_weight_is_that_of_nncf(mode: str) -> None:
    for case in FUNCTIONS[mode]:
        w = case["x"].clone().requires_grad_()
        a = w.detach().abs().mean((1, 2, 3) if mode == "xnor" else (0, 1, 2, 3), keepdim=True)
        y = binarize_weight(w, a)
        y.backward(case["grad_output"])
        assert_close(y, case["output"], rtol=1e-6, atol=1e-6)
        assert_close(w.grad, case["grad_x"], rtol=0, atol=0)


@LAYOUTS
def test_activation_matches_the_plain_formula_in_every_layout(layout: torch.memory_format) -> None:
    x, g = (tensor.to(memory_format=layout) for tensor in activations(4, 3, 6))
    t = torch.tensor([0.2, 0.5, 0.9])
    results = run_activation(x, 1.0, t, g)
    for got, expected in zip(results, plain_activation(x, 1.0, t, g), strict=True):
        assert_close(got, expected, rtol=2e-6, atol=2e-6)
    assert results[0].is_contiguous(memory_format=layout)
    assert results[1].is_contiguous(memory_format=layout)


@LAYOUTS
@pytest.mark.parametrize("sign", [1, -1], ids=["nonnegative", "of both signs"])
@pytest.mark.parametrize("s", [1.0, 2.0**-100, 0.1, 3e4])
def test_activation_in_training_matches_the_plain_formula(
    layout: torch.memory_format, sign: int, s: float
) -> None:
    x, g = (tensor.to(memory_format=layout) for tensor in activations(4, 3, 6))
    x = (x.relu() if sign > 0 else x) * s
    s = torch.tensor(s).item()  # as float32
    x[0, 0, 0, :3] = torch.tensor([s, s * (1 + 2**-22), s * (1 - 2**-22)])
    t = torch.tensor([0.2, 0.5, 0.9])
    found, expected = run_activation(x, s, t, g, strict=True), plain_activation(x, s, t, g)
    for got, plain in zip(found, expected, strict=True):
        assert_close(got, plain, rtol=2e-6, atol=1e-5 if plain.shape == (1,) else 2e-6)


@pytest.mark.parametrize("place", [0, 37, -1])
def test_nan_adds_nothing_to_gradients_wherever_it_is(place: int) -> None:
    x, g = activations(4, 3, 5)
    x.view(-1)[place] = float("nan")
    t = torch.tensor([0.2, 0.5, 0.9])
    without = x.nan_to_num(nan=-1.0)
    g.view(-1)[place] = 0  # so that the other value adds nothing either
    expected = plain_activation(without, 1.0, t, g)
    for strict in (False, True):
        g.view(-1)[place] = 1.0
        found = run_activation(x, 1.0, t, g, strict=strict)
        assert found[1].view(-1)[place] == 0
        assert found[0].view(-1)[place].isnan() == strict
        for got, plain in zip(found[1:], expected[1:], strict=True):
            assert_close(got, plain, rtol=2e-6, atol=1e-5)
            assert got.isfinite().all()


def test_gradient_in_another_layout_than_the_input() -> None:
    x, g = activations(4, 3, 6)
    t = torch.tensor([0.2, 0.5, 0.9])
    results = run_activation(x, 1.0, t, g.to(memory_format=torch.channels_last))
    for got, expected in zip(results, plain_activation(x, 1.0, t, g), strict=True):
        assert_close(got, expected, rtol=2e-6, atol=2e-6)


def test_broadcast_input_and_gradient() -> None:
    x, t = torch.tensor([-1.0, 0.0, 0.4, 1.0, 1.5]).expand(2, 3, 4, 5), torch.full((3,), 0.5)
    g = torch.ones(1).expand(2, 3, 4, 5)
    results = run_activation(x, 1.0, t, g)
    for got, expected in zip(results, plain_activation(x, 1.0, t, g), strict=True):
        assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_unbatched_activation_has_its_channels_first() -> None:
    x, g = activations(1, 3, 5)
    t = torch.tensor([0.2, 0.5, 0.9])
    batched, unbatched = run_activation(x, 1.0, t, g), run_activation(x[0], 1.0, t, g[0])
    assert_close(unbatched[0], batched[0][0], rtol=0, atol=0)
    assert_close(unbatched[1], batched[1][0], rtol=0, atol=0)
    assert_close(unbatched[2:], batched[2:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)]
)
def test_activation_in_other_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    x, g = (tensor.to(dtype) for tensor in activations(4, 2, 8))
    t = torch.tensor([0.25, 0.5])  # exact in all dtypes, as is s
    parameter_dtype = dtype if dtype == torch.float64 else torch.float32
    y, grad_x, grad_s, grad_t = run_activation(x, 2.0, t, g, dtype=parameter_dtype)
    plain = plain_activation(x.double(), 2.0, t.double(), g.double())
    assert y.dtype == grad_x.dtype == dtype
    assert grad_s.dtype == grad_t.dtype == parameter_dtype
    assert_close(y.double(), plain[0], rtol=0, atol=0)
    assert_close(grad_x.double(), plain[1], rtol=0, atol=0)
    total = g.double().abs().sum().item()
    assert_close(grad_s.double(), plain[2], rtol=0, atol=tolerance * total)
    assert_close(grad_t.double(), plain[3], rtol=0, atol=tolerance * total)


def test_edges_of_the_activation() -> None:
    nan, inf, s, t = float("nan"), float("inf"), 2.0, 0.5
    #                 -inf -1   -0.0 0.0  s t  just above              s    just above               inf  nan
    x = torch.tensor([-inf, -1, -0.0, 0.0, 1.0, 1.0 + 2**-23, 2.0, 2.0 + 2**-22, inf, nan]).view(1, 1, 1, 10)
    g = torch.full_like(x, 3.0)
    y, grad_x, _, grad_t = run_activation(x, s, torch.tensor([t]), g)
    assert y.flatten().tolist() == [0, 0, 0, 0, 0, 2, 2, 2, 2, 0]
    assert grad_x.flatten().tolist() == [0, 0, 3, 3, 3, 3, 3, 0, 0, 0]
    assert grad_t.item() == -(3 + 3)  # s t and just above: 0 and s are outside


def test_scale_gradient_of_infinite_and_nan_inputs() -> None:
    x = torch.tensor([float("inf"), float("nan"), 5.0, 0.5]).view(1, 1, 1, 4)
    g = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 1, 1, 4)
    grad_s = run_activation(x, 2.0, torch.tensor([0.5]), g)[2]
    assert grad_s.item() == 1 + 100 - 1000 * 0.5 / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_strict_is_nan_where_x_is_not_finite_and_the_same_elsewhere(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-inf, -1.0, -0.0, 0.0, 1.0, 1.5, 2.0, 3.0, inf, nan], dtype=dtype).view(1, 1, 1, 10)
    s, t = torch.tensor([2.0]), torch.full((1, 1, 1, 1), 0.5)
    expected = binarize_activation(x, s, t).where(x.isfinite(), nan)
    torch.testing.assert_close(
        binarize_activation(x, s, t, strict=True), expected, rtol=0, atol=0, equal_nan=True
    )


def test_infinite_gradient_outside_the_windows_is_dropped() -> None:
    x = torch.tensor([-1.0, 0.5, 5.0]).view(1, 1, 1, 3)
    g = torch.tensor([float("inf"), 1.0, float("nan")]).view(1, 1, 1, 3)
    _, grad_x, _, grad_t = run_activation(x, 2.0, torch.tensor([0.5]), g)
    assert grad_x.flatten().tolist() == [0, 1, 0]
    assert grad_t.item() == -1


def test_scale_gradient_is_a_finite_difference_where_y_is_differentiable() -> None:
    x, g = activations(2, 2, 4)
    x = x.abs().double() + 3.0  # all above s: y = s
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    grad_s = run_activation(x, 2.0, t, g.double(), dtype=torch.float64)[2]

    def loss(s: float) -> float:
        y = binarize_activation(x, torch.tensor([s], dtype=torch.float64), t.view(1, 2, 1, 1))
        return (g.double() * y).sum().item()

    assert grad_s.item() == pytest.approx((loss(2.0 + 1e-6) - loss(2.0 - 1e-6)) / 2e-6, rel=1e-6)


def test_multiplier_reaches_scale_and_threshold_only() -> None:
    x, g = activations(4, 3, 6)
    t = torch.tensor([0.2, 0.5, 0.9])
    once, thrice = run_activation(x, 1.0, t, g), run_activation(x, 1.0, t, g, m=3.0)
    assert_close(thrice[1], once[1], rtol=0, atol=0)
    assert_close(thrice[2], 3 * once[2])
    assert_close(thrice[3], 3 * once[3])


def test_empty_batch() -> None:
    x = torch.empty(0, 3, 4, 4)
    y, grad_x, grad_s, grad_t = run_activation(x, 1.0, torch.full((3,), 0.5), torch.empty_like(x))
    assert y.shape == grad_x.shape == x.shape
    assert grad_s.tolist() == [0]
    assert grad_t.flatten().tolist() == [0, 0, 0]


def test_only_the_input_is_saved_for_backward() -> None:
    x, _ = activations(4, 3, 6)
    saved: list[int] = []
    scale, threshold = torch.ones(1, requires_grad=True), torch.full((1, 3, 1, 1), 0.5, requires_grad=True)

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        binarize_activation(x, scale, threshold)
    assert sorted(saved) == sorted(tensor.data_ptr() for tensor in (x, scale, threshold))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_weight_signs_and_identity_gradient(dtype: torch.dtype) -> None:
    w = torch.tensor([-2.0, -0.0, 0.0, 1e-4], dtype=dtype).view(4, 1, 1, 1).requires_grad_()
    y = binarize_weight(w, torch.full((1, 1, 1, 1), 0.5, dtype=dtype))
    assert y.dtype == dtype
    assert y.flatten().tolist() == [-0.5, -0.5, -0.5, 0.5]
    g = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=dtype).view(4, 1, 1, 1)
    y.backward(g)
    assert w.grad is not None
    assert w.grad.tolist() == g.tolist()


@pytest.mark.parametrize("kind", ["weight", "activation"])
def test_second_derivative_is_an_error(kind: str) -> None:
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    s, t = torch.ones(1, requires_grad=True), torch.full((1, 3, 1, 1), 0.5, requires_grad=True)
    y = binarize_weight(x, s.detach()) if kind == "weight" else binarize_activation(x, s, t)
    (grad_x,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad_x.sum().backward()
