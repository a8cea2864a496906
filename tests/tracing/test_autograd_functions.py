"""`torch.autograd.Function`: a graph keeps the custom backward, however it is written and called."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tracing.running import traced


class Steps(torch.autograd.Function):
    """Looks like a step, with the gradient of seven lines."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype) * levels

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * 7, None


class WithSetup(torch.autograd.Function):
    """The same in the way of writing that `torch.func` needs."""

    @staticmethod
    def forward(x: Tensor, levels: int) -> Tensor:
        return (x > 0).to(x.dtype) * levels

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * 7, None


class Applies(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function.apply(x * 1, x.shape[0])
        return y + 0


@pytest.mark.parametrize("function", [Steps, WithSetup])
def test_custom_backward_survives(function: type[torch.autograd.Function]) -> None:
    graph = traced(Applies(function), torch.zeros(1, 3), training=True)
    x = torch.ones(2, 3, requires_grad=True)
    y = graph(x)
    assert torch.equal(y, torch.full((2, 3), 2.0))
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((2, 3), 7.0))


def test_two_custom_functions_of_one_name_stay_two() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            other: Any = type("Steps", (Steps,), {"forward": staticmethod(lambda ctx, x, n: x * 100)})
            y: Tensor = other.apply(Steps.apply(x, 2), 1)  # type: ignore[no-untyped-call]
            return y

    graph = traced(Twice(), torch.zeros(1, 3))
    assert torch.equal(graph(torch.ones(1, 3)), torch.full((1, 3), 200.0))


steps = Steps.apply  # as old code binds it


def test_custom_function_that_was_bound_early_keeps_its_backward() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = Steps.apply

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.steps(x, 2) + steps(x, 3)  # type: ignore[no-untyped-call]
            return y

    x = torch.ones(1, 3, requires_grad=True)
    traced(Early(), torch.zeros(1, 3), training=True)(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((1, 3), 14.0))


class Reverse(torch.autograd.Function):
    """Turns gradients around, and gives back what it was given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -3 * grads[0]


class ReverseWithSetup(Reverse):
    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass


class ReverseInPlace(Reverse):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.mul_(2)


class ReverseInPlaceWithSetup(ReverseInPlace):
    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        return x.mul_(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_dirty(*inputs)


class Several(torch.autograd.Function):
    """Gives tensors and something else, with an option that has a default."""

    @staticmethod
    def forward(x: Tensor, y: Tensor, power: int = 2) -> tuple[Tensor, str, Tensor]:
        return x**power, "a word", y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, _, ctx.power = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * x * ctx.power * 10, grads[2] * 100, None


class Nested(torch.autograd.Function):
    """Applies another one, whose backward nobody comes to, and calls the forward of a third."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = BOUND_EARLY[Reverse](Steps.forward(ctx, x * 1, 2))
        return y + x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        grad: Tensor = grads[0] * x
        return grad


_FUNCTIONS: tuple[Any, ...] = (
    *(Reverse, ReverseWithSetup, ReverseInPlace, ReverseInPlaceWithSetup),
    *(Several, Nested),
)
BOUND_EARLY: dict[type, Any] = {function: function.apply for function in _FUNCTIONS}
outside = torch.full((3,), 2.0, requires_grad=True)


def _bound_late(function: Any) -> Any:
    return function.apply


def _uses_both(x: Tensor, y: Any) -> Tensor:
    result: Tensor = x * 5 + y * 7
    return result


def _several(apply: Any, x: Tensor) -> Tensor:
    a, word, b = apply(x, x * 1)
    c, _, d = apply(x, x * 1, 3)
    assert word == "a word"
    result: Tensor = a + b * 2 + c * 3 + d * 4 + x
    return result


CALLS: dict[str, Callable[[Any, Tensor], Any]] = {
    "what is given comes back": lambda f, x: _uses_both(x, f(Reverse)(x)),
    "what is given comes back, with a setup": lambda f, x: _uses_both(x, f(ReverseWithSetup)(x)),
    "in place": lambda f, x: _uses_both(x, f(ReverseInPlace)(x)),
    "in place, with a setup": lambda f, x: _uses_both(x, f(ReverseInPlaceWithSetup)(x)),
    "in place, and changed": lambda f, x: _uses_both(x, f(ReverseInPlace)(x).add_(1)),
    "several results, one no tensor": lambda f, x: _several(f(Several), x),
    "one in another": lambda f, x: f(Nested)(x) + f(Nested)(x) * 2,
    "one after another": lambda f, x: f(Reverse)(f(Nested)(f(ReverseWithSetup)(x))),
    "asked whether it learns": lambda f, x: x * (2 if f(Reverse)(x).requires_grad else 3),
    "of a tensor that is no attribute": lambda f, x: x + f(Several)(outside, x)[0],
}


class Calls(nn.Module):
    def __init__(self, bound: Callable[[type], Any], call: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)
        self.bound, self.call = bound, call

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.call(self.bound, self.linear(x)))
        return y


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("bound", [_bound_late, BOUND_EARLY.__getitem__], ids=["bound late", "bound early"])
def test_gradients_are_those_of_the_original(
    bound: Callable[[type], Any], call: Callable[[Any, Tensor], Any]
) -> None:
    model = Calls(bound, call)
    original = copy.deepcopy(model)
    graph = traced(model, torch.zeros(1, 3), training=True)
    x = torch.rand(4, 3)
    y, expected = graph(x), original(x)
    assert torch.equal(y, expected)
    found = torch.autograd.grad(y.sum(), [*model.parameters()])
    for grad, right in zip(found, torch.autograd.grad(expected.sum(), [*original.parameters()]), strict=True):
        assert torch.equal(grad, right)
