"""Models with composed binarizers, exported: equal outputs, in 1 bit where OpenVINO is right."""

import math
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarizers import ActivationBinarizer
from tests.binarizing import binarize
from tests.compositions import COMPOSITIONS

X = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
CENTERED = "its weights have levels that are not -a and a"


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_exported_compositions_compute_the_same(check: Any, name: str) -> None:
    model = binarize(nn.Conv2d(8, 8, 3, padding=1), X, parts=COMPOSITIONS[name])
    is_centered = name == "adabin"
    report = check(model, X, one_bit=0 if is_centered else 1)
    (site,) = report.sites
    assert (site.reason == CENTERED) == is_centered


def test_weights_whose_levels_have_a_center_stay_in_float_in_openvino(check: Any) -> None:
    parts = {"weights": {"levels": "center_distance", "latent": "standardize"}}
    report = check(binarize(nn.Conv2d(8, 8, 3), X, parts=parts), X, one_bit=0)
    assert report.sites[0].reason == CENTERED


class PaddedLater(nn.Module):
    """Its padding comes after the binarizer, as `F.pad` is not part of the call site."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (1, 1, 1, 1)))
        return y


def test_padding_is_binarized_to_the_low_level_and_stays_where_it_is(check: Any) -> None:
    check(binarize(PaddedLater(), X, parts=COMPOSITIONS["irnet"]), X, one_bit=1)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2), bias=True),
        nn.Conv2d(8, 5, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 7, padding=3),  # moved before the binarizer, where thresholds may be below 0
        nn.Conv2d(8, 8, 4, padding="same"),
        nn.Conv2d(8, 8, 1),
    ],
    ids=["strided", "dilated", "wide", "even", "single pixels"],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_what_the_low_level_contributes_is_right_near_every_border(check: Any, conv: nn.Conv2d) -> None:
    x = torch.randn(2, conv.in_channels, 9, 10, generator=torch.Generator().manual_seed(0))
    parts = {"activations": {"levels": "sign"}}
    model = binarize(conv, x, parts=parts)
    (binarizer,) = (each for each in model.modules() if isinstance(each, ActivationBinarizer))
    with torch.no_grad():
        binarizer.levels().threshold[..., ::2, :, :].neg_()
    assert (binarizer.levels().threshold < 0).any()
    check(model, x, one_bit=1)


def test_the_file_holds_a_few_rows_of_it_and_no_number_for_each_output(check: Any, tmp_path: Path) -> None:
    x = torch.randn(1, 8, 64, 64)
    model = binarize(nn.Conv2d(8, 16, 3, padding=1), x, parts={"activations": {"levels": "sign"}})
    fxbin.export_onnx(model, tmp_path / "model.onnx")
    largest = max(math.prod(each.dims) for each in onnx.load(tmp_path / "model.onnx").graph.initializer)
    assert largest == 256 * 8  # the table that unpacks bits


def pruned(*, bias: bool) -> fxbin.BinarizedModule:
    """Two convolutions; half of the filters of the first are 0, as are the thresholds of the second."""
    first, second = (nn.Conv2d(8, 8, 3, padding=1, bias=bias) for _ in range(2))
    net = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second)
    with torch.no_grad():
        first.weight[:4] = 0
        if first.bias is not None:
            first.bias[:4:2] = 0
    model = binarize(net, X, parts={"activations": {"levels": "sign"}})
    norm = model.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.reset_parameters()  # a 0 stays 0
    nn.init.constant_(norm.bias[4:], 0.03)  # other sums may be 0 only up to rounding
    nn.init.zeros_([*model.binarization.sites.values()][1].activation.get_parameter("shift"))
    return model


@pytest.mark.parametrize("bias", [False, True])
def test_a_sign_behind_filters_of_zeros_is_that_of_zero(check: Any, bias: bool) -> None:
    report = check(pruned(bias=bias), X, one_bit=2)
    low = "what its lower level contributes is added behind it"
    assert (
        report.sites[0].reason == f"{low}; 4 weight scales raised from 0 to 2 ** -100, and factors behind it"
    )


def test_numbers_beside_zeros_are_not_taken_for_rounding(tmp_path: Path) -> None:
    model, path = pruned(bias=True), tmp_path / "model.onnx"
    fxbin.export_onnx(model, path)
    runtimes = fxbin.compare_runtimes(model, path, [X], runtimes=["onnxruntime"], layers=True)
    assert (runtimes.is_right, runtimes.results[0].layers) == (True, 2)
    proto = onnx.load(path)
    (factors,) = (each for each in proto.graph.initializer if each.name.endswith("_factors"))
    changed = onnx.numpy_helper.to_array(factors).copy()
    changed[changed == 0] = -1  # 0 becomes as small a number as 2 ** -100 times a sum
    factors.CopyFrom(onnx.numpy_helper.from_array(changed, factors.name))
    onnx.save(proto, path)
    runtimes = fxbin.compare_runtimes(model, path, [X], runtimes=["onnxruntime"])
    assert not runtimes.is_right
    assert not runtimes.results[0].outputs[0].at_thresholds


def test_openvino_computes_pruned_layers_by_themselves_as_well() -> None:
    pytest.importorskip("openvino")
    import fxbin.openvino

    report = fxbin.openvino.verify(pruned(bias=True), inputs=[X])
    assert [layer.is_right for layer in report.layers] == [True, True]
