"""Regions of a forward with other settings; code that is compiled, scripted or checkpointed; hooks."""

import copy
from typing import Any, cast

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from fxbin.errors import TraceError
from fxbin.tracing import trace
from tests.tracing.running import traced


class NoGrad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, 3)
        self.inner = nn.Linear(3, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.frozen(x)
            with torch.enable_grad():
                x = self.inner(x)
        y: Tensor = self.head(x)
        return y if torch.is_grad_enabled() else y * 1


def test_no_grad_region_stays_one() -> None:
    model = NoGrad()
    reference = copy.deepcopy(model)
    traced(model, torch.zeros(1, 3), training=True)(torch.ones(2, 3)).sum().backward()
    reference(torch.ones(2, 3)).sum().backward()
    assert model.frozen.weight.grad is None
    for found, expected in zip([model.inner, model.head], [reference.inner, reference.head], strict=True):
        assert found.weight.grad is not None
        assert expected.weight.grad is not None
        assert torch.equal(found.weight.grad, expected.weight.grad)


def test_region_gives_back_what_the_caller_had() -> None:
    graph = traced(NoGrad(), torch.zeros(1, 3))
    graph(torch.ones(2, 3))
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not graph(torch.ones(2, 3)).requires_grad
        assert not torch.is_grad_enabled()


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Any:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            y = x @ x
            with torch.autocast("cpu", enabled=False):
                z = x @ x
        return y, z, x @ x


def test_autocast_regions_stay_regions() -> None:
    graph = traced(Autocast(), torch.zeros(2, 2))
    assert [y.dtype for y in graph(torch.ones(3, 3))] == [torch.bfloat16, torch.float32, torch.float32]
    assert not torch.is_autocast_enabled("cpu")


class AutocastDecorated(nn.Module):
    """Regions that were made before the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.region = torch.autocast("cpu", dtype=torch.bfloat16)

    @torch.autocast("cpu", dtype=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = x @ x
        with torch.autocast("cpu", enabled=False):
            z = x @ x
            with self.region:
                return y, z, x @ x


def test_autocast_that_was_made_before_the_trace_stays_what_it_is() -> None:
    model = AutocastDecorated()
    graph = traced(model, torch.zeros(2, 2))
    dtypes = [torch.bfloat16, torch.float32, torch.bfloat16]
    assert [y.dtype for y in graph(torch.ones(3, 3))] == dtypes
    assert [y.dtype for y in model(torch.ones(3, 3))] == dtypes
    assert "_traced_entry" not in vars(model.region)


class Compiled(nn.Module):
    """Compiles pieces of its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.compile(nn.Linear(3, 3), backend="eager")
        self.function = torch.compile(lambda x: x.relu() + 1, backend="eager")

    @torch.compile(backend="eager")
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(self.linear(x))
        return y


def test_what_code_compiles_is_followed_as_it_is_written() -> None:
    model, x = Compiled(), torch.randn(4, 3)
    graph = traced(model, torch.zeros(1, 3))
    assert torch.equal(graph(x), model(x))
    assert {"linear._orig_mod.weight"} <= {*graph.state_dict()}


class Checkpointed(nn.Module):
    def __init__(self, *, use_reentrant: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.use_reentrant = use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.utils.checkpoint.checkpoint(self.conv, x * 1, use_reentrant=self.use_reentrant)
        return y


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointed_part_has_its_gradients(use_reentrant: bool) -> None:
    model = Checkpointed(use_reentrant=use_reentrant)
    graph = traced(model, torch.zeros(1, 3, 2, 2), training=True)
    x = torch.rand(2, 3, 2, 2, requires_grad=True)
    (found,) = torch.autograd.grad(graph(x).sum(), [model.conv.weight])
    (expected,) = torch.autograd.grad(model.conv(x).sum(), [model.conv.weight])
    assert torch.equal(found, expected)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def test_scripted_functions_and_modules_are_single_nodes() -> None:
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.jit.script(nn.Conv2d(3, 3, 1))
            self.swish = [torch.jit.script(swish)]

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(self.swish[0](x))
            return y

    model = Scripted()
    graph = traced(model, torch.zeros(1, 3, 2, 2))
    assert len([node for node in graph.graph.nodes if node.op not in ("placeholder", "output")]) == 2
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(graph(x), model(x))


class Drops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.dropout(self.dropout(x), 0.5, self.training)
        if self.training:
            return x * x.new_empty(x.shape[0], 1).bernoulli_(0.5)
        return x


def test_train_and_eval_are_two_graphs() -> None:
    model = Drops()
    x = torch.rand(4, 100)
    graph = traced(model, x[:1], training=True).train()
    torch.manual_seed(3)
    found = graph(x)
    torch.manual_seed(3)
    assert torch.equal(found, model.train()(x))
    assert torch.equal(traced(model, x[:1]).eval()(x), x)


def test_part_that_the_model_keeps_in_eval_mode_is_traced_so() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drops = Drops()

        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self.drops.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.drops(x)
            return y

    graph = traced(Frozen(), torch.zeros(1, 3), training=True).train()
    graph.drops.eval()  # type: ignore[union-attr]
    assert torch.equal(graph(torch.ones(2, 3)), torch.ones(2, 3))


def test_attention_and_recurrent_layers_run_as_they_are() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.lstm = nn.LSTM(8, 8, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            x, weights = self.attention(x, x, x)
            y, (h, _) = self.lstm(self.encoder(x))
            return y, h, weights

    model = Layers().eval()
    graph = traced(model, torch.zeros(1, 5, 8))
    x = torch.rand(2, 5, 8)
    for found, expected in zip(graph(x), model(x), strict=True):
        assert torch.equal(found, expected)


def test_names_do_not_depend_on_the_mode_of_the_model() -> None:
    model = Drops()
    listings = [
        str(trace(model.train(mode), (torch.ones(1, 3),), {}, training=False).graph) for mode in (True, False)
    ]
    assert listings[0] == listings[1]


def double(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output * 2


def test_forward_hooks_are_followed_and_noted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    model.register_forward_hook(double)
    model[0].register_forward_hook(double)
    model[1].register_forward_hook(double)
    graph, x = traced(model, torch.zeros(1, 3, 2, 2)), torch.rand(2, 3, 2, 2)
    assert torch.equal(graph(x), model(x))
    notes = [(found.value, found.scope) for found in graph.specialisations]
    assert notes == [("double", "Sequential"), ("double", "Sequential/Conv2d[0]")]


def test_backward_hooks_on_code_that_is_followed_are_refused() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3)))
    model[0].register_full_backward_hook(lambda module, inputs, outputs: None)
    with pytest.raises(TraceError, match=r"Sequential/Sequential\[0\] has backward hooks"):
        traced(model, torch.zeros(1, 3))


def test_backward_hooks_on_a_layer_stay() -> None:
    calls: list[int] = []
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].register_full_backward_hook(lambda module, inputs, outputs: calls.append(1))
    traced(model, torch.zeros(1, 3), training=True)(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert calls == [1]


class Maps(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = torch.vmap(self.function)(x)
        return mapped


def test_mapped_function_is_one_node() -> None:
    model, x = Maps(lambda row: row * row.max()), torch.rand(4, 3)
    graph = traced(model, torch.zeros(1, 3))
    assert len(graph.graph.nodes) == 3
    assert torch.equal(graph(x), model(x))


def test_mapped_module_runs_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Maps(nn.Linear(3, 2)))
    found = trace(model, (torch.zeros(1, 3),), {}, training=False)
    assert list(found.islands) == ["1"]
    assert "torch.vmap is called with a function that uses modules" in found.islands["1"]


AUTOCAST = torch.autocast("cpu", enabled=False)


class Entered(nn.Module):
    """Enters one autocast again before it has left it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    @AUTOCAST  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        x = self.linear(x)
        if depth:
            return cast("Tensor", self.forward(x, depth - 1))
        with AUTOCAST, AUTOCAST:
            return cast("Tensor", x + self.linear(x))


def test_an_autocast_may_be_entered_again_before_it_is_left() -> None:
    model = Entered()
    graph = traced(model, torch.zeros(1, 3))
    x = torch.rand(2, 3)
    with torch.autocast("cpu"):
        assert torch.equal(graph(x), model(x))
    targets = [getattr(node.target, "__name__", "") for node in graph.graph.nodes]
    assert targets.count("_enter_autocast") == targets.count("_exit_autocast") == 5


class Mapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        def act(given: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
            return {"y": given["x"] * factor}

        out_dims: Any = {"y": 1}
        y: Tensor = torch.vmap(act, in_dims=({"x": 1}, None), out_dims=out_dims)({"x": x}, 3.0)["y"]
        return y


def test_vmap_over_dicts() -> None:
    x = torch.rand(2, 3)
    assert torch.equal(traced(Mapped(), torch.zeros(2, 3))(x), 3 * x)
