import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.errors import TraceError
from fxbin.tracing import trace
from tests.tracing.running import traced


class Sizes(nn.Module):
    """Computes with sizes in every way that keeps them symbolic."""

    def forward(self, x: Tensor) -> Any:
        batch, channels, height, width = x.shape
        flat = x.view(len(x), -1)
        windows = x.reshape(int(batch * 4 / 2), -1)
        rows = x.reshape(torch.Size([batch, channels * height, width]))
        small = F.interpolate(x, size=(math.ceil(height / 2), max(width // 3, 1)))
        assert x.size(1) == channels, f"{channels} channels in {x.shape}"
        same = x.new_zeros(x.shape[:2] + x.shape[2:]) if x.shape == rows.view(x.shape).shape else x
        pairs = divmod(x.numel(), 2)
        return flat, windows, rows, small, same, torch.arange(pairs[0] + pairs[1], device=x.device)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_sizes_stay_symbolic_wherever_the_code_allows(batch: int) -> None:
    model = Sizes()
    graph = traced(model, torch.zeros(1, 4, 6, 6))
    x = torch.rand(batch, 4, 8, 10)
    for found, expected in zip(graph(x), model(x), strict=True):
        assert torch.equal(found, expected)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] > 5 else x


def test_branch_over_a_size_is_recorded_with_its_line() -> None:
    graph = traced(Branches(), torch.zeros(1, 7))
    (found,) = graph.specialisations
    assert (found.expression, found.value, found.scope) == ("(x.shape[1] > 5)", True, "Branches")
    assert found.location.startswith(f"{__file__}:")
    assert torch.equal(graph(torch.ones(3, 6)), 2 * torch.ones(3, 6))


def test_shape_that_takes_the_other_branch_is_refused_by_name() -> None:
    graph = traced(Branches(), torch.zeros(1, 7))
    with pytest.raises(TraceError, match=r"\(x\.shape\[1\] > 5\) .* = True, and now it is False"):
        graph(torch.ones(3, 4))


class Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0]
        for column in range(1, x.shape[1]):
            total = total + x[:, column]
        return total


def test_loop_over_a_size_refuses_other_sizes() -> None:
    graph = traced(Loop(), torch.zeros(1, 3))
    assert torch.equal(graph(torch.ones(4, 3)), 3 * torch.ones(4))
    with pytest.raises(TraceError, match=r"x\.shape\[1\].* = 3, and now it is 4"):
        graph(torch.ones(4, 4))


class Message(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[1] == 3, f"got {x.shape[0]} of {x.shape[1]:d} channels")
        print(f"{x.shape[0]}", str(x.shape[0]), repr(x.shape), x.dtype)
        return x


def test_text_about_sizes_narrows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    graph = traced(Message(), torch.zeros(1, 3))
    assert graph.specialisations == ()
    assert torch.equal(graph(torch.ones(2, 3)), torch.ones(2, 3))
    with pytest.raises(AssertionError, match="got 1 of 3 channels"):
        graph(torch.ones(2, 4))


class Checks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for condition in (x.shape[0] > 0, x.shape[1] == 3):
            torch._check(condition() if callable(condition) else condition, lambda: "three channels")
        torch._check_tensor_all(x >= 0, lambda: "nothing negative")
        return x + 1


def test_checks_of_torch_hold_at_run_time() -> None:
    graph = traced(Checks(), torch.zeros(1, 3))
    assert torch.equal(graph(torch.ones(4, 3)), torch.full((4, 3), 2.0))
    with pytest.raises(TraceError, match=r"x\.shape\[1\] == 3.* and now it is False"):
        graph(torch.ones(4, 4))
    with pytest.raises(RuntimeError, match="nothing negative"):
        graph(-torch.ones(4, 3))


class Limits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.int32, torch.int64) or x.is_cuda or x.device.type.startswith("xla"):
            return x
        return x.masked_fill(x > 0, torch.finfo(x.dtype).min).to(x.dtype)


def test_dtypes_and_devices_are_asked_for_at_run_time() -> None:
    graph = traced(Limits(), torch.zeros(1, 3))
    assert graph(torch.ones(2, 3, dtype=torch.float64))[0, 0] == torch.finfo(torch.float64).min


class Content(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return x.nonzero()


def test_branch_over_the_content_of_a_tensor_is_refused_with_line_and_way_out() -> None:
    with pytest.raises(TraceError, match="content of a tensor") as raised:
        traced(Content(), torch.zeros(1, 3))
    assert f"{__file__}:" in str(raised.value)
    assert "leaf_modules" in str(raised.value)


def test_shape_that_depends_on_content_is_refused() -> None:
    class Nonzero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nonzero(x)

    with pytest.raises(TraceError, match="nonzero needs the content of a tensor"):
        traced(Nonzero(), torch.zeros(1, 3))


def test_module_that_looks_at_content_can_be_kept_whole() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.content = Content()

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.content(x * 2)
            return found

    graph = traced(Outer(), torch.zeros(1, 3), leaf_modules=(Content,))
    assert torch.equal(graph(torch.ones(2, 3)), 2 * torch.ones(2, 3))
    assert graph(-torch.ones(2, 3)).shape == (6, 2)


class Peaks(nn.Module):
    """Walks over its content, one number after the other."""

    def forward(self, x: Tensor) -> Any:
        best = x.argmax(1)
        found = []
        for row in range(x.shape[0]):
            where = int(best[row])
            found.append(x[row, where] if 0 < where < x.shape[1] - 1 else x[row, 0])
        return torch.stack(found), x[x > 0.5], len(found)


class WithPeaks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.blocks = nn.ModuleList([Peaks()])

    def forward(self, x: Tensor) -> Any:
        peaks, large, count = self.blocks[0](torch.relu(self.first(x)))
        return peaks * count, large + 1


def test_module_that_looks_at_content_becomes_an_island() -> None:
    model = WithPeaks()
    found = trace(model, (torch.zeros(1, 4),), {}, training=False)
    assert list(found.islands) == ["blocks.0"]
    assert "depends on the content of a tensor" in found.islands["blocks.0"]
    assert f"{__file__}:" in found.islands["blocks.0"]
    graph, x = traced(model, torch.zeros(1, 4)), torch.randn(5, 4)
    for left, right in zip(graph(x), model(x), strict=True):
        assert torch.equal(left, right)


class Constants(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for size in torch.tensor([2, 3]).tolist():
            x = x * size
        return x + torch.arange(3)[int(torch.tensor(1).item())]


def test_content_of_constants_is_known() -> None:
    graph = traced(Constants(), torch.zeros(1, 3))
    assert torch.equal(graph(torch.ones(2, 3)), 7 * torch.ones(2, 3))
    assert graph.specialisations == ()


class Numbers(nn.Module):
    """Computes with numbers that come out of tensors, without looking at them."""

    def forward(self, x: Tensor) -> Any:
        alive = torch.bernoulli(torch.full((1,), 0.5))
        return float(alive) / 0.5 * x, x * x.max().item(), int(x.sum()) + 1


def test_numbers_out_of_tensors_may_be_computed_with() -> None:
    graph, x = traced(Numbers(), torch.zeros(1, 3)), torch.rand(2, 3)
    torch.manual_seed(5)
    expected = Numbers()(x)
    torch.manual_seed(5)
    found = graph(x)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert found[2] == expected[2]


class Chance(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if torch.rand(1) < 0.5 else x * 2


def test_chance_is_no_constant() -> None:
    with pytest.raises(TraceError, match="content of a tensor"):
        traced(Chance(), torch.zeros(1, 3))


class Parts(nn.Module):
    """Works on the parts of a tensor, however many there are."""

    def forward(self, x: Tensor) -> Tensor:
        means = torch.stack([part.mean() for part in x.t()])
        first, _ = x.split([1, x.shape[1] - 1], dim=1)
        total: Tensor = means.sum() + torch.cat(x.chunk(3, dim=1)).sum() + first.sum()
        return total


def test_number_of_parts_of_a_tensor_is_checked() -> None:
    graph = traced(Parts(), torch.zeros(2, 3))
    assert [(s.expression, s.value) for s in graph.specialisations] == [("len(unbind)", 3), ("len(chunk)", 3)]
    x = torch.rand(5, 3)
    assert torch.equal(graph(x), Parts()(x))
    with pytest.raises(TraceError, match=r"len\(unbind\) in Parts .* = 3, and now it is 4"):
        graph(torch.rand(5, 4))


class Dimensions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if len(x.shape) == 2:
            x = x[None]
        return x.mean(tuple(range(1, len(x.size()))))


def test_number_of_dimensions_is_checked() -> None:
    graph = traced(Dimensions(), torch.zeros(1, 3, 2))
    assert torch.equal(graph(torch.ones(4, 3, 5)), torch.ones(4))
    with pytest.raises(TraceError, match=r"\(len\(.*shape\) == 2\) .* = False, and now it is True"):
        graph(torch.ones(3, 2))


class Truth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(x.shape, torch.Size)
        assert isinstance(x.shape[0], int)
        if not x.shape[0]:
            return x
        return x * (x.shape[0] and 2)


def test_whether_a_size_is_0_says_nothing_about_other_sizes() -> None:
    graph = traced(Truth(), torch.zeros(1, 3))
    assert torch.equal(graph(torch.ones(7, 3)), 2 * torch.ones(7, 3))
    with pytest.raises(TraceError, match=r"bool\(x\.shape\[0\]\).* = True, and now it is False"):
        graph(torch.ones(0, 3))


def test_operator_without_a_rule_for_shapes_is_no_obstacle() -> None:
    class Quantized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fake_quantize_per_tensor_affine(x, 0.5, 0, -8, 7).flatten(1)

    graph = traced(Quantized(), torch.zeros(1, 3, 2))
    assert torch.equal(graph(torch.full((4, 3, 2), 0.7)), torch.full((4, 6), 0.5))


def test_deep_expression_is_cut_short() -> None:
    class Doubles(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            size = x.shape[1]
            for _ in range(60):
                size = size + size
                x = x + x
            return x if size > 7 and len(x.unbind(1)) == 3 else -x

    (compared, *_) = traced(Doubles(), torch.zeros(1, 3)).specialisations
    assert len(compared.expression) < 600


class Examples(nn.Module):
    """Works on one example after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[i] / x[i].max() for i in range(x.shape[0])])


class ChannelByChannel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, i] * i for i in range(x.shape[1])], 1)


def test_module_that_loops_over_the_batch_becomes_an_island() -> None:
    model = nn.Sequential(ChannelByChannel(), Examples())
    found = trace(model, (torch.zeros(1, 4),), {}, training=False)
    assert list(found.islands) == ["1"]
    assert "x.shape[0] says, which depends on the size of the batch" in found.islands["1"].replace(
        "stack", "x"
    )
    graph, x = traced(model, torch.zeros(1, 4)), torch.rand(5, 4)
    assert torch.equal(graph(x), model(x))


class AsksForTypes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        height, three, text = x.shape[2], 3, "x"
        if type(x) is Tensor and type(height) is int and type(three) is int and type(height / 2) is float:
            x = x * 2
        if type(x.shape) is torch.Size and type(self.weight) is nn.Parameter and type(text) is str:
            x = x + type(height)(2.7)
        if type(self.weight) in (Tensor, str) or not isinstance(type(x), type):
            x = x * 0
        made = type("Made", (nn.Identity,), {})
        y: Tensor = made()(x)
        return y


def test_types_are_those_that_the_code_meets_without_a_trace() -> None:
    model, x = AsksForTypes(), torch.rand(2, 3, 4, 4)
    assert torch.equal(traced(model, torch.rand(1, 3, 4, 4))(x), model(x))


class AsksForLayout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * 2 if y.is_contiguous(memory_format=torch.channels_last) else y


def test_layout_behind_a_convolution_is_known() -> None:
    model = AsksForLayout()
    x = torch.rand(2, 3, 4, 4)
    last = x.to(memory_format=torch.channels_last)
    for example in (x, last):
        assert torch.equal(traced(model, example[:1])(example), model(example))
    with pytest.raises(TraceError, match="is_contiguous"):
        traced(model, x)(last)
    model.conv.weight.data = model.conv.weight.to(memory_format=torch.channels_last)
    assert torch.equal(traced(model, x)(x), model(x))


class Standardized(nn.Module):
    """Looks at the shape of a weight, and only at that."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.flatten(1) if self.weight.ndim > 2 else self.weight
        if weight.shape[0] > weight.size(1):
            weight = weight / weight.shape[1]
        for row in range(len(weight) // 2):
            x = x + row
        return F.conv2d(x, weight.view(4, 3, 1, 1))


def test_shapes_of_weights_are_nothing_that_a_graph_is_special_to() -> None:
    model, x = Standardized(), torch.rand(5, 3, 6, 6)
    graph = traced(model, torch.zeros(1, 3, 4, 4))
    assert graph.specialisations == ()
    assert torch.equal(graph(x), model(x))
    graph.weight = nn.Parameter(torch.rand(3, 3, 1, 1))
    with pytest.raises(
        TraceError, match=r"for weights with .* in Standardized .* = True, and now it is False"
    ):
        graph(x)
