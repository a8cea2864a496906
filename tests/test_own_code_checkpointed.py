"""Gradient checkpointing that is switched on after the transform: the gradients are those without it."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed._composable.checkpoint_activation import checkpoint as composable_checkpoint
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import fxbin
from fxbin.errors import TransformError
from tests.test_own_code import batch, runs_a_graph
from tests.transforming import SMALL, config

# A checkpoint inside of another gets inputs without gradients at first.
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")

Run = Callable[[Callable[..., Tensor], Tensor], Tensor]


class Block(nn.Module):
    """Two convolutions by functions, one of them with a computed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.part(x, 1.0).sin(), 2.0)

    def part(self, x: Tensor, factor: float) -> Tensor:
        return F.conv2d(x, self.weight * factor, padding=1)


class Checkpoints(nn.Module):
    """Runs pieces of its code through `run`: functions, methods, layers, blocks, one inside the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.block = Block()
        self.run: Run | None = None

    def piece(self, function: Callable[..., Tensor], x: Tensor) -> Tensor:
        return function(x) if self.run is None else self.run(function, x)

    def method(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1).cos()

    def forward(self, x: Tensor) -> Tensor:
        def function(y: Tensor) -> Tensor:
            return F.conv2d(y, self.weight, padding=1).sin()

        def nested(y: Tensor) -> Tensor:
            return self.piece(function, self.conv(y)) + self.piece(lambda z: self.block.part(z, 3.0), y)

        y = F.conv2d(x, self.weight.tanh(), padding=1)
        for piece in (function, self.method, self.conv, self.conv, self.block, nested):
            y = self.piece(piece, y).sin()
        return F.conv2d(y, self.weight.sigmoid(), padding=1)


def gradients(run: Any, x: Tensor, model: Any = None) -> dict[str, Tensor]:
    """The gradients of the parameters of `model`, by default `run` itself."""
    model = run if model is None else model
    model.zero_grad()
    run(x).square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found
    return {name.replace("_checkpoint_wrapped_module.", ""): grad.clone() for name, grad in found.items()}


def training(original: nn.Module, x: Tensor, settings: dict[str, Any] = SMALL) -> Any:
    model: Any = fxbin.transform(original, settings)
    model.binarization.enable()
    model(x)  # initializes the scales
    return model


def reentrant(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    return checkpoint(function, x, use_reentrant=True)  # type: ignore[no-any-return]


def not_reentrant(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    return checkpoint(function, x, use_reentrant=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("run", [reentrant, not_reentrant])
@pytest.mark.parametrize("is_inner", [False, True])
def test_gradients_are_those_without_checkpoints(run: Run, is_inner: bool) -> None:
    torch.manual_seed(0)
    x = batch()
    model = training(nn.Sequential(nn.Conv2d(3, 3, 1), Checkpoints()) if is_inner else Checkpoints(), x)
    expected = gradients(model, x)
    assert runs_a_graph(model)
    (model[1] if is_inner else model).run = run
    for _ in range(2):
        torch.testing.assert_close(gradients(model, x), expected)
    assert not runs_a_graph(model)


def test_the_backward_may_be_repeated_and_runs_in_any_order() -> None:
    torch.manual_seed(0)
    model = training(Checkpoints(), batch())
    expected = [gradients(model, batch(seed)) for seed in range(2)]
    model.run = not_reentrant
    losses = [model(batch(seed)).square().sum() for seed in range(2)]
    for index in (1, 0, 1, 0):
        model.zero_grad()
        losses[index].backward(retain_graph=True)
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        torch.testing.assert_close(found, expected[index])


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), nn.Conv2d(3, 3, 3, padding=1), Block())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x) + self.blocks(x.sin())
        return y


WAYS: dict[str, Callable[[Any], object]] = {
    "checkpoint_wrapper": lambda m: [
        m.blocks.__setitem__(i, checkpoint_wrapper(m.blocks[i])) for i in (0, 1)
    ],
    "reentrant checkpoint_wrapper": lambda m: m.blocks.__setitem__(
        0, checkpoint_wrapper(m.blocks[0], checkpoint_impl=CheckpointImpl.REENTRANT)
    ),
    "apply_activation_checkpointing": lambda m: apply_activation_checkpointing(
        m, check_fn=lambda module: isinstance(module, Block)
    ),
    "composable checkpoint": lambda m: composable_checkpoint(m.blocks[0]),
    "checkpoint_sequential": lambda m: setattr(m, "blocks", Pieces(m.blocks)),
}


class Pieces(nn.Module):
    def __init__(self, inner: nn.Sequential) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint_sequential(self.inner, 2, x, use_reentrant=False)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:Please specify CheckpointImpl.NO_REENTRANT:FutureWarning")  # torch 2.9
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_checkpoint_modules_gives_the_gradients_without_it(way: str) -> None:
    torch.manual_seed(0)
    x = batch().requires_grad_()
    model = training(Blocks(), x)
    expected = gradients(model, x)
    WAYS[way](model)
    found = gradients(model, x)
    torch.testing.assert_close(list(found.values()), list(expected.values()))


@pytest.mark.filterwarnings("ignore:.*use_reentrant parameter:UserWarning")
def test_checkpointing_of_timm_gives_the_gradients_without_it() -> None:
    torch.manual_seed(0)
    original = timm.models.nfnet.NormFreeNet(
        timm.models.nfnet.NfCfg(depths=(1, 2), channels=(32, 32), stem_type="3x3", stem_chs=16), num_classes=2
    )
    x = batch(size=32)
    model = training(original, x, config(2, 3, 32, 32))
    expected = gradients(model, x)
    model.set_grad_checkpointing()
    torch.testing.assert_close(gradients(model, x), expected)


@pytest.mark.parametrize("run", [reentrant, not_reentrant])
def test_checkpoint_around_the_whole_model_gives_the_gradients_without_it(run: Run) -> None:
    torch.manual_seed(0)
    x = batch().requires_grad_()
    model = training(Checkpoints(), x)
    expected = gradients(model, x)
    torch.testing.assert_close(gradients(lambda y: run(model, y), x, model), expected)


@pytest.mark.parametrize("run", [reentrant, not_reentrant])
def test_checkpoints_outside_of_transformed_models_repeat_the_function_itself(run: Run) -> None:
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(F.conv2d(x, torch.ones(1, 3, 3, 3)))
        return seen[-1].exp()

    training(Checkpoints(), batch())
    run(function, batch().requires_grad_()).sum().backward()
    assert len(seen) == 2
    assert torch.equal(*seen)


class Repeated(torch.autograd.Function):
    """Checkpointing as people write it: the function runs again in the backward."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], x: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x)
        return function(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            ctx.function(x).backward(grad)
        return None, x.grad


def by_hand(function: Callable[..., Tensor], x: Tensor) -> Tensor:
    y: Tensor = Repeated.apply(function, x)  # type: ignore[no-untyped-call]
    return y


def test_layer_with_several_call_sites_in_checkpoints_of_another_kind_is_an_error_that_says_so() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.run = not_reentrant

        def forward(self, x: Tensor) -> Tensor:
            return self.run(self.conv, self.run(self.conv, x))

    torch.manual_seed(0)
    model = training(Twice(), batch())
    model.run = by_hand
    y = model(batch().requires_grad_())
    with pytest.raises(
        TransformError,
        match=r"conv: it was called in a backward, .* which checkpointing by torch\.utils\.check",
    ):
        y.sum().backward()


def test_function_in_a_checkpoint_of_another_kind_is_an_error_that_says_so() -> None:
    torch.manual_seed(0)
    model = training(Checkpoints(), batch())
    model.run = by_hand
    with pytest.raises(
        TransformError,
        match=r"a torch\.autograd\.Function convolves with .*Checkpoints/conv2d_1'.*torch\.utils\.checkpoint",
    ):
        model(batch())


class Convolution(torch.autograd.Function):
    """A convolution with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return (
            conv2d_input(x.shape, weight, grad, padding=1),
            conv2d_weight(x, weight.shape, grad, padding=1),
        )


def test_autograd_functions_that_convolve_are_in_full_precision_in_the_own_code_too() -> None:
    class Convolves(Checkpoints):
        factor = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Parameter(torch.randn(3, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = Convolution.apply(self.method(x), self.other)  # type: ignore[no-untyped-call]
            return y * self.factor

    torch.manual_seed(0)
    x = batch()
    model = training(Convolves(), x)
    y, expected = model(x), gradients(model, x)
    model.factor = 2.0
    assert not runs_a_graph(model)
    torch.testing.assert_close(model(x), 2 * y)
    torch.testing.assert_close(gradients(model, x), {name: 4 * grad for name, grad in expected.items()})
