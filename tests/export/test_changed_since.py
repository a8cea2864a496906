"""A model that was changed after the transform: the file computes what it computes now, or it is rejected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize, prune

import fxbin
from fxbin.errors import ExportError
from tests import changed_blocks
from tests.changed_blocks import blocks
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


@pytest.mark.parametrize("change", sorted({*changed_blocks.CHANGES} - {"a wrapped layer"}))
def test_file_has_what_was_changed_in_a_block(change: str, tmp_path: Path) -> None:
    model = blocks(changed_blocks.CHANGES[change])
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), model(batch()), rtol=1e-4, atol=1e-5)


def _in_front(_module: nn.Module, x: Any) -> Any:
    return (x[0] * 2 - 0.5,)


def _behind(_module: nn.Module, _x: Any, y: Tensor) -> Tensor:
    return y * 3 + 1


def test_file_has_what_hooks_on_the_model_do_around_those_from_before_the_transform(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = Reads()
    original.register_forward_pre_hook(lambda _m, x: (x[0].square(),))
    original.register_forward_hook(lambda _m, _x, y: y.abs())
    model = switched_on(fxbin.transform(original, SMALL), batch())
    before = model(batch())
    handles = [model.register_forward_pre_hook(_in_front), model.register_forward_hook(_behind)]
    expected = model(batch())
    assert not torch.allclose(expected, before)
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(batch()), expected)
    for handle in handles:
        handle.remove()
    assert torch.equal(model(batch()), before)
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), before, rtol=1e-4, atol=1e-5)


def test_hook_on_the_model_that_only_looks_is_left_out_or_named(tmp_path: Path) -> None:
    seen: list[Any] = []
    model = changed(lambda m: m.register_forward_hook(lambda _m, _x, y: seen.append(y.shape)))
    expected = model(batch())
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), expected, rtol=1e-4, atol=1e-5)
    model.register_forward_hook(lambda _m, _x, y: seen.append("negative") if (y < 0).any() else None)
    with pytest.raises(ExportError, match=r"no graph can hold.*If a hook on the model only looks"):
        fxbin.export_onnx(model, tmp_path / "m.onnx", (batch(),))


def test_hooks_for_all_modules_are_refused(tmp_path: Path) -> None:
    model = blocks()
    with (
        register_module_forward_hook(lambda m, _x, y: 2 * y if isinstance(m, nn.Conv2d) else None),
        pytest.raises(ExportError, match=r"hooks for all modules .*Remove them for the export"),
    ):
        fxbin.export_onnx(model, tmp_path / "m.onnx", (batch(),))
    torch.testing.assert_close(in_file(model, tmp_path / "m.onnx"), model(batch()), rtol=1e-4, atol=1e-5)


def test_forward_that_was_put_on_since_is_refused(tmp_path: Path) -> None:
    model = changed(lambda m: setattr(m, "forward", lambda x: m.conv1(x) + 0))
    assert torch.equal(model(batch()), model.conv1(batch()) + 0)
    with pytest.raises(ExportError, match=r"forward: it was assigned to the model after the transform"):
        fxbin.export_onnx(model, tmp_path / "m.onnx")
