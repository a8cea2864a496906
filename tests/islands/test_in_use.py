"""Training loops with a model that has islands."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError
from tests.islands.models import IMAGES, Inside, detector
from tests.transform_check import CONFIG, Case, check, same

# Dynamo itself makes and reads the objects that it warns of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


def inside() -> BinarizedModule:
    """A branch over content in the middle of a graph."""
    torch.manual_seed(0)
    return fxbin.transform(Inside(), CONFIG, (torch.rand(1, 3, 8, 8),)).train()


def step(model: BinarizedModule, run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output and the gradients, those of parameters that have one."""
    model.zero_grad()
    torch.manual_seed(1)
    y = run(x)
    y.square().sum().backward()
    return y.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.usefixtures("in_float")
def test_compiled_with_graph_breaks_it_is_what_it_is_eagerly() -> None:
    torch.compiler.reset()
    model = inside()
    model.binarization.enable(activations=True, weights=True)
    compiled = copy.deepcopy(model)
    run = torch.compile(compiled, backend="eager")
    for low in (0.0, -5.0):  # the second batch takes the other branch of the code
        x = torch.rand(2, 3, 8, 8) + low
        (expected, gradients), (found, others) = step(model, model, x), step(compiled, run, x)
        assert torch.equal(found, expected)
        assert_close(others, gradients, rtol=1e-4, atol=1e-5)  # compilers get sums in another order
    assert same([*model.buffers()], [*compiled.buffers()])


def test_any_number_of_parts_is_compiled() -> None:
    class Scaled(nn.Module):
        def __init__(self, scale: int) -> None:
            super().__init__()
            self.conv, self.scale = nn.Conv2d(3, 3, 1), scale

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x) * self.scale
            return y

    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Scaled(scale) for scale in range(12))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
                if x.sum() > 1e6:
                    x = -x
            return x

    torch.compiler.reset()
    x = torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(Many(), CONFIG, (x,)).eval()
    compiler = CompileCounter()
    torch.compile(binarized, backend=compiler)(x)
    assert compiler.frame_count == len(binarized.traced_parts) == 12


def test_full_graph_stops_at_the_line_where_the_original_would_have() -> None:
    torch.compiler.reset()
    run = torch.compile(inside(), backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match=r"self\.two\(x\) if x\.sum\(\) > 0 else"):
        run(torch.rand(2, 3, 8, 8))


class Finds(nn.Module):
    """An island for transform, and no obstacle to a compiler."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nonzero(self.conv(x) > 0)


def test_full_graph_holds_what_it_would_have_held_of_the_original() -> None:
    torch.compiler.reset()
    x = torch.rand(2, 3, 8, 8)
    model = fxbin.transform(Finds(), CONFIG, (x,)).eval()
    assert list(model.traced_parts) == ["conv"]
    model.binarization.enable(activations=True, weights=True)
    expected = model(x)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):  # newer ones do without
        assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(x), expected)


class Checkpointed(Inside):
    """Computes a part again for the backward."""

    use_reentrant: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.use_reentrant is not None:
            x = checkpoint(self.branch.two, x, use_reentrant=self.use_reentrant)
        else:
            x = self.branch.two(x)
        y: Tensor = self.last(x) if x.mean() > -1 else x
        return y


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("on", [True, False])
def test_part_is_computed_again_as_it_was(use_reentrant: bool, on: bool) -> None:
    torch.manual_seed(0)
    model = fxbin.transform(Checkpointed(), CONFIG, (torch.rand(1, 3, 8, 8),)).train()
    assert sorted(model.traced_parts) == ["branch.two", "last", "stem"]
    model.binarization.enable(activations=on, weights=on)
    again = copy.deepcopy(model)
    vars(again)["use_reentrant"] = use_reentrant
    x = torch.rand(2, 3, 8, 8)
    for _ in range(2):  # the first one starts the scales
        assert same(step(model, model, x), step(again, again, x))
    parameters = [(name, p) for name, p in again.named_parameters() if "binarizer" in name]
    assert all((p.grad is not None) == on for _, p in parameters)


def test_autocast_reaches_parts_and_the_code_around_them() -> None:
    torch.manual_seed(0)
    original = Inside().train()
    model = fxbin.transform(original, CONFIG, (torch.rand(1, 3, 8, 8),)).train()
    x = torch.rand(2, 3, 8, 8)
    results = []
    for either in (original, model):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            results.append(either(x))
    assert results[0].dtype == torch.bfloat16
    assert torch.equal(*results)
    model.binarization.enable(activations=True, weights=True)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
        y.float().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_of_a_model_is_that_of_its_parts(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    original = Inside()
    model = fxbin.transform(original, CONFIG, (torch.rand(1, 3, 8, 8),)).to(dtype).eval()
    x = torch.rand(2, 3, 8, 8, dtype=dtype)
    assert torch.equal(original.to(dtype).eval()(x), model(x))
    model.train().binarization.enable(activations=True, weights=True)
    assert model(x).dtype == dtype


def test_copies_run_on_their_own_modules() -> None:
    model = detector().train()
    model.binarization.enable(activations=True, weights=True)
    copied = copy.deepcopy(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied(*IMAGES, [torch.rand(2, 4)])
    with torch.no_grad():
        copied.get_parameter("crops.conv.weight").zero_()
    assert same(before, model.state_dict())
    assert copied.binarization.sites["Detector/Crops[crops]/NNCFConv2d[conv]/conv2d_0"].activation.scale != 0
    copied.binarization.enable(activations=False, weights=False)
    assert model.binarization.enabled != copied.binarization.enabled


def test_torch_export_is_refused_where_content_decides() -> None:
    with pytest.raises(ExportError, match=r"torch\.export: Detector has code that no graph can hold"):
        torch.export.export(detector().eval(), IMAGES)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(inside().eval(), (torch.rand(1, 3, 8, 8),))


class DropsOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.conv(x), 0.5, self.training)


@pytest.mark.parametrize("training", [True, False])
def test_torch_export_has_what_runs_in_this_mode(training: bool) -> None:
    x = torch.rand(1, 3, 8, 8)
    model = fxbin.transform(DropsOut(), CONFIG, (x,)).train(training)
    exported = torch.export.export(model, (x,)).module()
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    assert torch.equal(exported(x), expected)


class SavesByHook(nn.Module):
    """A hook on a layer is a method of the model, which reads what it has saved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.conv.register_forward_hook(self.save)

    def save(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.feature = out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if y.sum() > -1e9:
            y = self.head(y + self.feature)
        return y


def test_hook_that_is_a_method_of_the_model_is_one_of_the_transformed_model() -> None:
    found = check(Case(SavesByHook(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites) == ([], 2)
