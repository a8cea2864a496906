"""A model that was changed after the transform: the file computes what it computes now, or it is rejected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import fxbin
from fxbin.errors import ExportError
from tests.test_own_code import CHANGES, Doubled, Reads, batch, runs_a_graph, switched_on
from tests.transforming import SMALL


def changed(change: Callable[[Any], Any]) -> Any:
    torch.manual_seed(0)
    model = switched_on(fxbin.transform(Reads(), SMALL), batch())
    torch.manual_seed(1)
    change(model)
    return model


def in_file(model: nn.Module, path: Path) -> Tensor:
    report = fxbin.export_onnx(model, path, (batch(),))
    assert [site.enabled for site in report.sites] == [True, True]
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: batch().numpy()})
    return torch.from_numpy(found)


@pytest.mark.parametrize("change", CHANGES)
def test_file_has_what_was_changed(change: str, tmp_path: Path) -> None:
    model = changed(CHANGES[change])
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), model(batch()), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda m: parametrize.register_parametrization(m.conv1, "weight", Doubled()),
        lambda m: nn.utils.parametrizations.weight_norm(m.conv2),
        lambda m: prune.l1_unstructured(m.conv1, "weight", amount=0.5),
        lambda m: nn.utils.weight_norm(m.conv2),
    ],
    ids=["parametrize", "weight_norm", "prune", "old weight_norm"],
)
def test_file_has_computed_weights_in_two_levels(change: Callable[[Any], Any], tmp_path: Path) -> None:
    model = changed(change)
    model(batch())  # with gradients: what hooks compute is then no leaf
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), model(batch()), rtol=1e-4, atol=1e-5)


def test_file_has_what_hooks_do_to_tensors(tmp_path: Path) -> None:
    model = changed(lambda m: m.conv1.register_forward_hook(lambda _m, _x, y: 2 * y))
    assert not runs_a_graph(model)
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), model(batch()), rtol=1e-4, atol=1e-5)


def test_backward_hooks_are_no_part_of_a_file(tmp_path: Path) -> None:
    model = changed(lambda m: m.conv1.register_full_backward_hook(lambda *_: None))
    assert not runs_a_graph(model)
    found = in_file(model, tmp_path / "m.onnx")
    with torch.no_grad():
        torch.testing.assert_close(found, model(batch()), rtol=1e-4, atol=1e-5)


def test_forward_that_was_put_on_since_is_refused(tmp_path: Path) -> None:
    model = changed(lambda m: setattr(m, "forward", lambda x: m.conv1(x) + 0))
    assert torch.equal(model(batch()), model.conv1(batch()) + 0)
    with pytest.raises(ExportError, match=r"forward: it was assigned to the model after the transform"):
        fxbin.export_onnx(model, tmp_path / "m.onnx")
