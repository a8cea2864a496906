"""torch.compile of a model that was changed after the transform: the same results as eager."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import fxbin
from tests import changed_blocks
from tests.changed_blocks import blocks
from tests.test_own_code import CHANGES, Reads, batch, small, switched_on
from tests.transforming import SMALL

# Dynamo itself makes the object it warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.fixture
def counter() -> CompileCounterWithBackend:
    torch.compiler.reset()
    # It is Dynamo that has to notice changes, whatever compiles the graphs that it makes.
    return CompileCounterWithBackend("eager")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("nested", [False, True])
def test_what_is_changed_is_compiled_anew(
    counter: CompileCounterWithBackend, change: str, nested: bool
) -> None:
    torch.manual_seed(0)
    model: Any = switched_on(fxbin.transform(Reads(), SMALL), batch())
    eager = copy.deepcopy(model)
    compiled: Any = torch.compile(nn.Sequential(model) if nested else model, fullgraph=True, backend=counter)
    torch.testing.assert_close(compiled(batch()), eager(batch()))
    for either in (model, eager):
        torch.manual_seed(1)
        CHANGES[change](either)
    torch.testing.assert_close(compiled(batch()), eager(batch()))
    assert counter.frame_count > 1 or change == "dropout"


def doubled(_module: nn.Module, _inputs: Any, y: Tensor) -> Tensor:
    """A forward hook."""
    return 2 * y


def tripled(_module: nn.Module, _inputs: Any, y: Tensor) -> Tensor:
    """Another one."""
    return 3 * y


@pytest.mark.parametrize("path", ["conv1", "bn"])
@pytest.mark.parametrize("in_place", [False, True])
def test_hooks_that_come_and_go_are_compiled_anew(
    counter: CompileCounterWithBackend, path: str, in_place: bool
) -> None:
    model = switched_on(small(), batch())
    eager = copy.deepcopy(model)
    compiled: Any = torch.compile(model, fullgraph=True, backend=counter)
    if in_place:
        compiled = model
        model.compile(fullgraph=True, backend=counter)
    plain = compiled(batch())
    # Not one function with two defaults, which Dynamo of torch 2.9 takes for the same one in any model.
    for hook in (doubled, tripled):
        handles = [either.get_submodule(path).register_forward_hook(hook) for either in (model, eager)]
        found = compiled(batch())
        torch.testing.assert_close(found, eager(batch()))
        assert not torch.allclose(found, plain)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(compiled(batch()), plain)


@pytest.mark.parametrize("change", changed_blocks.CHANGES)
def test_what_is_changed_in_a_block_is_compiled_anew_in_a_larger_module(
    counter: CompileCounterWithBackend, change: str
) -> None:
    model = blocks()
    compiled: Any = torch.compile(nn.Sequential(model), fullgraph=True, backend=counter)
    before = compiled(batch())
    changed_blocks.CHANGES[change](model)
    found = compiled(batch())
    torch.testing.assert_close(found, model(batch()))
    assert not torch.equal(found, before)


def test_what_was_changed_before_the_first_compiled_call_counts(
    counter: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = blocks()
    before = model(batch())
    monkeypatch.setattr(changed_blocks.Block, "scaled", lambda _self, x: -x)
    compiled: Any = torch.compile(nn.Sequential(model), fullgraph=True, backend=counter)
    found = compiled(batch())
    torch.testing.assert_close(found, model(batch()))
    assert not torch.allclose(found, before)


def test_global_variables_and_classes_are_followed_in_a_larger_module(
    counter: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = blocks()
    compiled: Any = torch.compile(nn.Sequential(model), fullgraph=True, backend=counter)
    plain = compiled(batch())
    monkeypatch.setattr(changed_blocks, "SLOPE", 3.0)
    torch.testing.assert_close(compiled(batch()), model(batch()))
    assert not torch.equal(compiled(batch()), plain)
    monkeypatch.setattr(changed_blocks, "SLOPE", 1.0)
    torch.compiler.reset()
    torch.testing.assert_close(compiled(batch()), plain)
    monkeypatch.setattr(changed_blocks.Block, "scaled", lambda _self, x: -x)
    found = compiled(batch())
    torch.testing.assert_close(found, model(batch()))
    assert not torch.allclose(found, plain)


@pytest.mark.parametrize("path", ["", "body.1", "body.1.conv"])
def test_hooks_that_come_and_go_in_a_larger_module_are_compiled_anew(
    counter: CompileCounterWithBackend, path: str
) -> None:
    model = blocks()
    compiled: Any = torch.compile(nn.Sequential(model), fullgraph=True, backend=counter)
    plain = compiled(batch())
    for factor in (2, 3):  # one takes the place of the other, without a call between them
        handle = model.get_submodule(path).register_forward_hook(lambda _m, _x, y, factor=factor: factor * y)
        found = compiled(batch())
        torch.testing.assert_close(found, model(batch()))
        assert not torch.allclose(found, plain)
        handle.remove()
    torch.testing.assert_close(compiled(batch()), plain)
