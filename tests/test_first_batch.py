"""torch.compile(fullgraph=True) of a transformed model: what is compiled when, and with what numbers."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close

import fxbin
from fxbin.binarized.effects_undone import effects_undone
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import ActivationBinarizer
from fxbin.errors import TransformError
from tests.transforming import SMALL, Small, config

# Dynamo itself makes the object it warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
STAGES = [(False, False), (True, False), (True, True), (False, True)]


@pytest.fixture
def counter() -> CompileCounterWithBackend:
    """A backend that runs what Dynamo and autograd made of the model, and counts the graphs."""
    torch.compiler.reset()
    return CompileCounterWithBackend("aot_eager")


def small() -> BinarizedModule:
    torch.manual_seed(0)
    return fxbin.transform(Small(), SMALL)


def batch(index: int) -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(index))


def test_each_switch_compiles_once_in_train_and_once_in_eval_mode(counter: CompileCounterWithBackend) -> None:
    model = small()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for activations, weights in STAGES:
        model.binarization.enable(activations=activations, weights=weights)
        for training in (True, False):
            model.train(training)
            before = counter.frame_count
            for index in range(3):
                with torch.set_grad_enabled(training):
                    y = compiled(batch(index))
                if training:
                    y.sum().backward()
            assert counter.frame_count - before == 1, (activations, weights, training)
    assert all(site.activation.is_scale_initialized for site in model.binarization.sites.values())


def test_compiled_in_place_it_compiles_once_too(counter: CompileCounterWithBackend) -> None:
    model = small()
    model.compile(fullgraph=True, backend=counter)
    model.binarization.enable(activations=True)
    for index in range(3):
        model(batch(index)).sum().backward()
    assert counter.frame_count == 1
    copied = copy.deepcopy(model)
    assert_close(copied.eval()(batch(0)), model.eval()(batch(0)))


def assert_same_training(
    eager: BinarizedModule, model: BinarizedModule, compiled: Callable[..., Tensor], batches: int
) -> None:
    """With everything enabled: outputs, all that a state_dict has, and gradients, batch for batch."""
    for either in (eager, model):
        either.binarization.enable(activations=True, weights=True)
    for index in range(batches):
        torch.manual_seed(index)
        expected = eager(batch(index))
        expected.sum().backward()
        torch.manual_seed(index)
        y = compiled(batch(index))
        y.sum().backward()
        assert_close(y, expected)
        assert_close(model.state_dict(), eager.state_dict())
    for own, other in zip(model.parameters(), eager.parameters(), strict=True):
        assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5)


# In float, as a number that is rounded to the other side of a threshold changes the gradients.
@pytest.mark.usefixtures("in_float")
@pytest.mark.parametrize("nested", [False, True])
def test_the_first_batch_has_the_numbers_and_the_effects_of_eager(
    counter: CompileCounterWithBackend, nested: bool
) -> None:
    """Outputs, scales, running statistics (moved once) and dropout, as a whole or as a part."""
    eager, model = small(), small()
    compiled = torch.compile(nn.Sequential(model) if nested else model, fullgraph=True, backend=counter)
    assert_same_training(eager, model, compiled, batches=3)


@pytest.mark.parametrize("in_place", [False, True])
def test_several_first_batches_compile_once_and_have_the_numbers_of_eager(
    counter: CompileCounterWithBackend, in_place: bool
) -> None:
    torch.manual_seed(0)
    settings = config(2, 3, 8, 8, params={"activation_init_batches": 3, "activation_threshold_init": "mse"})
    eager = fxbin.transform(Small(), settings)
    model = copy.deepcopy(eager)
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    if in_place:
        compiled = model
        model.compile(fullgraph=True, backend=counter)
    assert_same_training(eager, model, compiled, batches=5)
    assert counter.frame_count == 1


class SkipsAConvInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.refine = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.training else self.refine(x)


def test_a_call_site_that_training_never_runs_costs_one_eager_pass(
    counter: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fxbin.transform(SkipsAConvInTraining(), SMALL)
    passes = []
    start = BinarizedModule._initialize_scales

    def count(self: BinarizedModule, x: Tensor) -> list[ActivationBinarizer]:
        passes.append(x)
        return start(self, x)

    monkeypatch.setattr(BinarizedModule, "_initialize_scales", count)
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    model.binarization.enable(activations=True)
    for index in range(3):
        compiled(batch(index))
    assert len(passes) == counter.frame_count == 1


def test_an_error_in_the_first_batch_leaves_the_buffers_as_they_were(
    counter: CompileCounterWithBackend,
) -> None:
    model = small()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    model.binarization.enable(activations=True)
    # One that has the right number of channels for the first conv only.
    model.get_submodule("conv2.activation_binarizer").channels = 5  # type: ignore[assignment]
    with pytest.raises(TransformError, match=r"expected an input \(n, 5, h, w\)"):
        compiled(batch(0))
    assert model.get_buffer("bn.num_batches_tracked").item() == 0


@pytest.mark.parametrize("keep_initialization", [True, False])
def test_initialization_that_is_kept_is_still_known_to_be_that_of_one_rank(keep_initialization: bool) -> None:
    model = small()
    model.binarization.enable(activations=True)
    activations = [site.activation for site in model.binarization.sites.values()]
    with effects_undone(model, keep_initialization=keep_initialization):
        model(batch(0))
        for activation in activations:
            activation.has_started_alone = True  # as it is where there are other ranks
    for activation in activations:
        assert (activation.has_started_alone, activation.is_scale_initialized) == (
            keep_initialization,
            keep_initialization,
        )
