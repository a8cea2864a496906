"""Programs that other tracers make of a transformed model, and transforms of `torch.func` on it."""

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.jit._trace import TracerWarning
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.tensorboard import SummaryWriter

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import TransformError
from fxbin.onlookers import is_exported
from tests.other_tracers import batch, binarized, in_each_stage
from tests.transforming import SMALL, Small

pytestmark = pytest.mark.usefixtures("in_float")  # compared to the bit


class AddsOneIfExported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if is_exported() else x + 0


def test_export_is_told_from_compilation() -> None:
    model, x = AddsOneIfExported(), torch.zeros(1)
    assert torch.compile(model, backend="eager")(x) == model(x) == 0
    for strict in (False, True):
        assert torch.export.export(model, (x,), strict=strict).module()(x) == 1


@in_each_stage("Small", "resnet", "efficientnet")
@pytest.mark.parametrize("grad_mode", [True, False])
def test_torch_jit_trace_makes_a_program_for_any_batch(name: str, stage: str, grad_mode: bool) -> None:
    model, file = binarized(name, stage), io.BytesIO()
    with torch.set_grad_enabled(grad_mode):
        torch.jit.save(torch.jit.trace(model, batch(name, 2)), file)
        file.seek(0)
        traced = torch.jit.load(file)
        for count in (2, 3):
            torch.testing.assert_close(traced(batch(name, count)), model(batch(name, count)))


def test_gradients_stop_at_the_binarizers_of_a_traced_module() -> None:
    model = binarized("Small", "activations and weights")
    traced = torch.jit.trace(model, batch("Small", 2))
    x = batch("Small", 2).requires_grad_()
    traced(x).sum().backward()
    assert x.grad is None


@in_each_stage("Small", "efficientnet")
def test_openvino_converts_the_model_itself(name: str, stage: str) -> None:
    model = binarized(name, stage)
    converted = openvino.convert_model(model, example_input=batch(name, 2))
    compiled = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (2, 3):
        x = batch(name, count)
        with torch.no_grad():
            expected = model(x).numpy()
        np.testing.assert_allclose(compiled(x.numpy())[0], expected, rtol=1e-3, atol=1e-3)


@in_each_stage("Small")
def test_tensorboard_draws_the_graph(name: str, stage: str, tmp_path: Path) -> None:
    model = binarized(name, stage).train()  # which it switches to eval mode and back
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(model, batch(name, 2))
    events = EventAccumulator(str(tmp_path)).Reload()
    drawn = [node.name for node in events.Graph().node]
    assert any("conv2" in name for name in drawn)
    assert model.training


class Sized(nn.Module):
    """Branches over a size, and looks up the dimensions of what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] > 7:
            x = F.relu(x)
        n, c, h, w = self.conv(x).shape
        y: Tensor = self.conv(x).view(n, c, h * w)
        return y


def test_a_check_that_a_traced_module_lacks_is_a_warning() -> None:
    model = fxbin.transform(Sized(), SMALL).eval()
    model.binarization.enable(activations=True, weights=True)
    with pytest.warns(TracerWarning, match=r"valid only for inputs with \(x\.shape\[2\] > 7\).*= True"):
        traced = torch.jit.trace(model, batch("Small", 2))
    assert torch.equal(traced(batch("Small", 3)), model(batch("Small", 3)))


def in_training(*, stage: bool = True) -> BinarizedModule:
    """A small model whose binarizers are in train mode, and whose dropout and BatchNorm are not."""
    model = fxbin.transform(Small(), SMALL).train()
    model.binarization.enable(activations=stage, weights=stage)
    for name in ("bn", "dropout"):
        model.get_submodule(name).eval()
    return model


def exported(strict: bool) -> Callable[[nn.Module, Tensor], Any]:
    return lambda model, x: torch.export.export(model, (x,), strict=strict)


@pytest.mark.parametrize(
    ("make", "who"),
    [(torch.jit.trace, "torch.jit.trace"), *((exported(s), "torch.export") for s in (True, False))],
)
def test_programs_of_a_binarized_model_in_training_are_refused(make: Any, who: str) -> None:
    model = in_training()
    model(batch("Small", 2))
    # Strict export follows the code with Dynamo, which wraps what it comes across in an error of its own.
    refused = (TransformError, torch._dynamo.exc.Unsupported)
    with pytest.raises(refused, match=rf"{who}: Small/.*conv1.*binarized and in train mode.*eval\(\)"):
        make(model, batch("Small", 2))
    make(in_training(stage=False), batch("Small", 2))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does
@in_each_stage("Small", "resnet", "efficientnet")
@pytest.mark.parametrize("strict", [True, False])
def test_torch_export_makes_a_program_for_any_batch(name: str, stage: str, strict: bool) -> None:
    torch.compiler.reset()
    model = binarized(name, stage)
    any_batch = ({0: torch.export.Dim("batch", min=2, max=8)},)
    program = torch.export.export(model, (batch(name, 2),), dynamic_shapes=any_batch, strict=strict).module()
    for count in (2, 3):
        torch.testing.assert_close(program(batch(name, count)), model(batch(name, count)))


@in_each_stage("Small", "resnet")
def test_make_fx_sees_operators_alone(name: str, stage: str) -> None:
    model, x = binarized(name, stage), batch(name, 2)
    torch.testing.assert_close(make_fx(model)(x)(x), model(x), rtol=0, atol=0)


def test_make_fx_sees_the_gradients_that_are_defined() -> None:
    model, x = in_training(), batch("Small", 2)
    model(x)

    def gradients(x: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(model(x).square().sum(), list(model.parameters()))

    torch.testing.assert_close(make_fx(gradients)(x)(batch("Small", 2)), gradients(x), rtol=1e-4, atol=1e-6)


@in_each_stage("Small", "efficientnet")
def test_gradients_of_single_examples_are_those_of_batches_of_one(name: str, stage: str) -> None:
    # A number rounded to the other side of a threshold would change the gradients: float64, and no network
    # whose max pooling has to choose between equal numbers.
    _check_per_sample(copy.deepcopy(binarized(name, stage)).double(), batch(name, 3).double())


def test_gradients_of_single_examples_in_training_are_those_of_batches_of_one() -> None:
    model, x = in_training(), batch("Small", 3)
    model(x)
    _check_per_sample(model, x)


def _check_per_sample(model: BinarizedModule, x: Tensor) -> None:
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        y: Tensor = functional_call(model, parameters, (example[None],))
        return y.square().sum()

    found = vmap(grad(loss), (None, 0))(parameters, x)
    for index, example in enumerate(x):
        y = model(example[None]).square().sum()
        expected = torch.autograd.grad(y, list(model.parameters()), allow_unused=True, materialize_grads=True)
        for name, value in zip(parameters, expected, strict=True):
            scale = value.abs().max().item()
            torch.testing.assert_close(found[name][index], value, rtol=1e-4, atol=1e-5 * scale + 1e-6)


@in_each_stage("Small")
def test_a_jacobian_has_a_gradient_in_each_row(name: str, stage: str) -> None:
    model, x = binarized(name, stage), batch(name, 2)
    found = jacrev(model)(x)
    for row, column in ((0, 0), (1, 4)):
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(model(leaf)[row, column], leaf)
        torch.testing.assert_close(found[row, column], expected, rtol=1e-4, atol=1e-6)


def test_vjp_in_training_has_the_gradients_of_autograd() -> None:
    model, x = in_training(), batch("Small", 2).requires_grad_()
    y = model(x)
    (expected,) = torch.autograd.grad(y.sum(), x)
    pull: Any = vjp(model, x.detach())[1]
    torch.testing.assert_close(pull(torch.ones_like(y))[0], expected, rtol=1e-4, atol=1e-6)


@in_each_stage("Small")
def test_functional_call_takes_other_weights(name: str, stage: str) -> None:
    model, x = binarized(name, stage), batch(name, 2)
    other = {
        key: value * 2 if value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    expected = fxbin.transform(Small(), SMALL).eval()
    expected.load_state_dict(other)
    assert torch.equal(functional_call(model, other, (x,)), expected(x))


@pytest.mark.parametrize(
    "follow",
    [
        lambda model, x: make_fx(model)(x),
        lambda model, x: grad(lambda x: model(x).sum())(x),
        lambda model, x: vmap(lambda example: model(example[None]))(x),
    ],
    ids=["make_fx", "grad", "vmap"],
)
def test_a_scale_starts_from_a_batch_that_nobody_follows(follow: Any) -> None:
    model = in_training()
    with pytest.raises(TransformError, match=r"conv1.*its scale is initialized by the first training batch"):
        follow(model, batch("Small", 2))
    assert not any(site.activation.is_scale_initialized for site in model.binarization.sites.values())
    model(batch("Small", 2))
    follow(model, batch("Small", 2))


def test_a_second_derivative_is_refused_in_a_functional_transform_too() -> None:
    model = binarized("Small", "activations and weights")
    for twice in (jacrev(jacrev(model)), grad(lambda x: grad(lambda x: model(x).sum())(x).sum())):
        with pytest.raises(TransformError, match="no second derivative"):
            twice(batch("Small", 2))


def test_a_scale_starts_while_operators_are_counted() -> None:
    model, plain = in_training(), Small()
    counts = []
    for network in (model, plain):
        with FlopCounterMode(display=False) as counter:
            network(batch("Small", 2))
        counts.append(counter.get_total_flops())
    assert all(site.activation.is_scale_initialized for site in model.binarization.sites.values())
    assert counts[0] == counts[1]
