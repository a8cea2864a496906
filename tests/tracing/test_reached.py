"""A replacement that torch does not call is an error in the first trace, not a gap in the graph."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.errors import TorchVersionError
from fxbin.tracing.patches import patching, reached
from fxbin.tracing.patches.reached import check_replacements
from fxbin.tracing.patches.replacement import Replacement

CONFIG = {
    "input_info": {"sample_size": [1, 3, 8, 8]},
    "compression": {"algorithm": "binarization", "mode": "xnor"},
}


@pytest.fixture
def not_checked_yet() -> Iterator[None]:
    check_replacements.cache_clear()
    yield
    check_replacements.cache_clear()


def test_each_is_reached() -> None:
    check_replacements.__wrapped__()


@pytest.mark.parametrize("missed", patching.REPLACEMENTS, ids=str)
@pytest.mark.usefixtures("not_checked_yet")
def test_one_that_is_not_reached_is_named(missed: Replacement, monkeypatch: pytest.MonkeyPatch) -> None:
    left = replace(missed, wrap=lambda there: there)
    others = tuple(left if each is missed else each for each in patching.REPLACEMENTS)
    monkeypatch.setattr(patching, "REPLACEMENTS", others)
    monkeypatch.setattr(reached, "REPLACEMENTS", others)
    model = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(TorchVersionError) as caught:
        fxbin.transform(model, CONFIG)
    assert f"torch {torch.__version__} no longer calls what fxbin puts in place of {missed}," in str(
        caught.value
    )
    assert torch.is_grad_enabled()
    monkeypatch.undo()
    fxbin.transform(model, CONFIG)


def test_what_torch_no_longer_has_is_named_and_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Replacement(torch, "no_longer_there", lambda _: lambda: 3, lambda _: False)
    monkeypatch.setattr(patching, "REPLACEMENTS", (gone,))
    monkeypatch.setattr(reached, "REPLACEMENTS", (gone,))
    with pytest.raises(TorchVersionError, match=r"in place of torch\.no_longer_there,"):
        check_replacements.__wrapped__()
    assert not hasattr(torch, "no_longer_there")


@pytest.mark.parametrize(
    "way", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu"), lambda: torch.device("meta")]
)
@pytest.mark.usefixtures("not_checked_yet")
def test_it_does_not_matter_what_the_caller_does_to_torch(way: Callable[[], Any]) -> None:
    drawn, drawn_by_python = torch.get_rng_state(), random.getstate()
    with way():
        check_replacements()
    assert torch.equal(torch.get_rng_state(), drawn)
    assert random.getstate() == drawn_by_python
