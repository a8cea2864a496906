"""Code that reads the dtype of a tensor gets the current one after the model was cast."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import TraceError
from tests.transform_check import CONFIG, same

FLOAT = (torch.float64, torch.bfloat16, torch.float32, torch.float16, torch.float64)
X = torch.rand(2, 3, 8, 8)


class Net(nn.Module):
    """Asks for the dtype of what it computes and of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if x.dtype == torch.float64:
            x = x + 1
        x = self.conv2(x)
        if self.conv2.weight.dtype in (torch.float16, torch.bfloat16):
            x = x.float().softmax(1).to(x.dtype)
        return F.dropout(x, 0.5, self.training)


class AsksAMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * 2 if x.element_size() == 8 else x


def transformed(model: nn.Module) -> BinarizedModule:
    return fxbin.transform(model, CONFIG, example_inputs=(X[:1],))


def assert_same(model: nn.Module, binarized: nn.Module, x: Tensor) -> None:
    """Output and gradients of one step, bit for bit."""
    results = []
    for either in (model, binarized):
        either.zero_grad()
        torch.manual_seed(0)
        output = either(x)
        output.sum().backward()
        results.append([output, *(p.grad for n, p in either.named_parameters() if "_binarizer" not in n)])
    assert same(*results)


@pytest.mark.parametrize("training", [False, True])
def test_a_cast_model_takes_the_branch_of_its_dtype(training: bool) -> None:
    model = Net().train(training)
    binarized = transformed(model)
    for dtype in FLOAT:
        assert_same(model.to(dtype), binarized.to(dtype), X.to(dtype))
    # For train and eval mode once, then one more for each dtype but float32, which has been met already.
    assert len(binarized.traced_graphs) == 2 + 3


def test_methods_that_depend_on_the_dtype_are_asked_too() -> None:
    model = AsksAMethod()
    binarized = transformed(model)
    assert_same(model.double(), binarized.double(), X.double())


def test_a_part_of_the_model_may_be_cast() -> None:
    class Head(Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv2(self.conv1(x).to(self.conv2.weight.dtype))
            return y.sigmoid() if y.dtype == torch.float64 else y

    model = Head()
    binarized = transformed(model)
    model.conv2.double()
    binarized.get_submodule("conv2").double()
    assert_same(model, binarized, X)


def test_one_bit_goes_with_the_branch() -> None:
    binarized = transformed(Net()).eval().double()
    binarized.binarization.enable(activations=True, weights=True)
    fresh = fxbin.transform(Net().double(), CONFIG, example_inputs=(X[:1].double(),)).eval()
    fresh.load_state_dict(binarized.state_dict())
    assert same(binarized(X.double()), fresh(X.double()))


def test_a_copy_and_a_compiled_model_take_it_too() -> None:
    model, binarized = Net().eval(), transformed(Net())
    binarized.load_state_dict(model.state_dict(), strict=False)
    binarized.eval()
    compiled = torch.compile(binarized, backend="eager", fullgraph=True)
    for dtype in FLOAT:
        x = X.to(dtype)
        expected = model.to(dtype)(x)
        binarized.to(dtype)
        assert same(expected, compiled(x))
        assert same(expected, copy.deepcopy(binarized)(x))
        assert same(expected, copy.deepcopy(binarized).float().to(dtype)(x))


def test_the_exported_file_has_the_branch_of_the_dtype(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    binarized = transformed(Net()).half().eval()
    with pytest.warns(UserWarning, match="2 of 2 selected call sites are not fully binarized at this stage"):
        fxbin.export_onnx(binarized, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = X[:1].half()
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert found.sum() == pytest.approx(
        x.shape[0] * found.shape[2] * found.shape[3], rel=1e-2
    )  # of a softmax
    torch.testing.assert_close(torch.from_numpy(found), binarized(x), atol=1e-3, rtol=1e-2)


def test_inputs_of_another_dtype_than_the_model_are_an_error() -> None:
    class Casts(Net):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.float32:
                x = x.float() / 255
            return super().forward(x)

    with pytest.raises(TraceError, match=r"x\.dtype != torch\.float32.* now it is True: transform"):
        transformed(Casts())((X * 255).byte())


def test_in_a_dtype_that_cannot_be_traced_the_own_code_runs() -> None:
    class Peculiar(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            if x.dtype == torch.float64 and x.sum() > 0:
                x = -x
            return x

    model = Peculiar().eval()
    binarized = transformed(model).eval()
    assert torch.equal(binarized.double()(X.double()), model.double()(X.double()))
    assert torch.equal(binarized.float()(X), model.float()(X))
