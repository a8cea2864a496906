"""`torch.export` of a model that was changed after the transform: what the model computes at that moment."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import TransformError
from tests.changed_blocks import CHANGES, blocks
from tests.test_own_code import batch, runs_a_graph, switched_on
from tests.transforming import SMALL

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),  # Dynamo does
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # torch.onnx does
]

HOOKS_OF_THE_ROOT: dict[str, Callable[[Any], Any]] = {
    "a hook": lambda m: m.register_forward_hook(lambda _m, _x, y: 2 * y),
    "a hook that takes keywords": lambda m: m.register_forward_hook(
        lambda _m, _args, _kwargs, y: y + 1, with_kwargs=True
    ),
    "a hook in front": lambda m: m.register_forward_pre_hook(lambda _m, x: (-x[0],)),
}
ALL_CHANGES: dict[str, Callable[[Any], Any]] = (
    CHANGES
    | HOOKS_OF_THE_ROOT
    | {
        "a forward": lambda m: setattr(m, "forward", lambda x: m.body(x).sum()),
    }
)


def skip_where_dynamo_is_older(strict: bool) -> None:
    if strict and torch.__version__.startswith("2.9."):
        pytest.skip("a strict export of torch 2.9 follows neither hooks of the root nor get_submodule")


def exported(model: nn.Module, strict: bool = False) -> Any:
    torch.compiler.reset()
    return torch.export.export(model, (batch(),), strict=strict).module()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("change", ALL_CHANGES)
def test_program_has_what_was_changed(change: str, strict: bool) -> None:
    skip_where_dynamo_is_older(strict and change in HOOKS_OF_THE_ROOT)
    model = blocks(ALL_CHANGES[change])
    torch.testing.assert_close(exported(model, strict)(batch()), model(batch()))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("change", ["one more layer", "a forward of a container", "a wrapped layer"])
def test_program_of_a_module_around_it_has_what_was_changed(change: str, strict: bool) -> None:
    skip_where_dynamo_is_older(strict)
    model = blocks(CHANGES[change])
    torch.testing.assert_close(exported(nn.Sequential(model), strict)(batch()), model(batch()))


@pytest.mark.parametrize("change", ["an attribute", "one more block", "a wrapped layer"])
def test_program_of_a_copy_has_what_was_changed(change: str) -> None:
    model = blocks(CHANGES[change])
    torch.testing.assert_close(exported(copy.deepcopy(model))(batch()), model(batch()))


def test_program_of_a_model_as_transformed_has_its_graph() -> None:
    model = blocks()
    assert runs_a_graph(model)
    program = torch.export.export(model, (batch(),))
    torch.testing.assert_close(program.module()(batch()), model(batch()))
    assert model.graph.find_nodes(op="get_attr")  # outside of the export, it is what it was


@pytest.mark.parametrize("change", ["one more layer", "a hook"])
def test_exporter_of_torch_has_what_was_changed(change: str) -> None:
    model = blocks(ALL_CHANGES[change])
    program: Any = torch.onnx.export(model, (batch(),), dynamo=True, verbose=False)
    torch.testing.assert_close(program(batch())[0], model(batch()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strict", [False, True])
def test_error_of_the_model_is_that_of_its_program(strict: bool) -> None:
    model = blocks()
    model.body[0].conv = nn.Conv2d(3, 4, 3, padding=1)
    refused = (TransformError, torch._dynamo.exc.Unsupported)  # Dynamo wraps what it comes across
    with pytest.raises(
        refused, match=r"body\.0\.conv: it is binarized, and was replaced by Conv2d"
    ) as caught:
        exported(model, strict)
    assert strict or "While executing" not in str(caught.value)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor | None = None, *, z: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        x = x if y is None else 2 * x - y
        return x if z is None else x * z


@pytest.mark.parametrize("kwargs", [("z",), ("z", "y"), ("z", "y", "x")])
@pytest.mark.parametrize("strict", [False, True])
def test_program_takes_keyword_arguments_by_their_names(kwargs: tuple[str, ...], strict: bool) -> None:
    torch.compiler.reset()
    values = {name: batch(seed) for seed, name in enumerate(kwargs)}
    args = () if "x" in values else (batch(),)
    model = switched_on(fxbin.transform(Named(), SMALL), batch())
    program: Any = torch.export.export(model, args, values, strict=strict).module()
    torch.testing.assert_close(program(*args, **values), model(*args, **values))
