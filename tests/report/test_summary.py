import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import fxbin
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.weight_levels import WeightLevels
from fxbin.errors import ExportError, TransformError
from fxbin.export import ExportMode
from tests.transforming import SMALL, Small, config

CONFIGS = Path(__file__).parents[2] / "configs"


class Layers(nn.Module):
    """Every kind of layer that is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, stride=2, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.one = nn.Conv1d(6, 5, 3)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.one(self.up(self.conv(x)).flatten(2)).transpose(1, 2))
        return y


class Shared(nn.Module):
    """One kernel: binarized, binarized again, and once in full precision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.conv(self.conv(x)), self.conv.weight)


class AuxiliaryHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.aux = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.aux(y) if self.training else y


class Opaque(nn.Module):
    """Kept whole by the tests."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y


def summary(model: nn.Module, *shape: int, **section: Any) -> fxbin.Summary:
    return fxbin.summary(fxbin.transform(model, config(*shape, **section)))


def test_site_tells_shapes_cost_and_state() -> None:
    model = fxbin.transform(Layers(), config(2, 4, 9, 9))
    model.binarization.enable(activations=True)
    report = fxbin.summary(model)
    (site,) = report.sites
    assert site.name == "Layers/NNCFConv2d[conv]/conv2d_0"
    assert (site.op, site.owner, site.weight) == ("conv2d", "conv", "conv.weight")
    assert (site.binarized, site.reason, site.train_only) == (True, "", False)
    assert (site.input_shape, site.output_shape) == ((2, 4, 9, 9), (2, 8, 4, 4))
    assert (site.weight_shape, site.groups) == ((8, 2, 3, 3), 2)
    assert site.macs == 8 * 4 * 4 * 2 * 3 * 3
    assert site.full_precision_bits == 8 * 2 * 3 * 3 * 32
    assert site.weight_bits == 8 * 2 * 3 * 3 + 8 * 32
    assert (site.activations_enabled, site.weights_enabled) == (True, False)
    assert report.stage is fxbin.Stage.ACTIVATIONS


def test_macs_of_other_layers_are_in_the_total_as_full_precision() -> None:
    report = summary(Layers(), 2, 4, 9, 9)
    up, one, fc = report.others
    assert [site.op for site in report.others] == ["conv_transpose2d", "conv1d", "linear"]
    assert up.macs == (8 * 4 * 4) * 3 * 2 * 2  # for each input element: outputs of its group, 2 x 2
    assert one.macs == 5 * 62 * 6 * 3
    assert fc.macs == 62 * 5 * 3
    assert (one.groups, fc.groups, fc.reason) == (1, 1, "only conv2d is binarized")
    conv = report.sites[0].macs
    assert report.macs == conv + up.macs + one.macs + fc.macs  # type: ignore[operator]
    assert report.binarized_macs == conv


def test_macs_are_half_of_what_torch_counts_as_flops() -> None:
    for model, shape in ((Layers(), (2, 4, 9, 9)), (Small(), (3, 3, 8, 8))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.rand(shape))
        assert summary(model, *shape).macs * 2 * shape[0] == counter.get_total_flops()


def test_macs_of_an_input_without_batch() -> None:
    report = summary(nn.Sequential(nn.Conv2d(3, 4, 3)), 3, 8, 8)
    assert report.macs == 4 * 6 * 6 * 3 * 3 * 3
    assert report.sites[0].groups == 1


def test_binarized_share_counts_what_is_really_binarized() -> None:
    report = summary(Small(), 2, 3, 8, 8, ignored_scopes=["{re}conv1"])
    first, second = report.sites
    assert (first.binarized, first.reason) == (False, 'in ignored_scopes: "{re}conv1"')
    assert report.binarized_macs == second.macs == 8 * 8 * 8 * 8 * 9
    assert report.binarized_macs_share == second.macs / (8 * 64 * 27 + 8 * 64 * 72 + 8 * 5)
    bits = 8 * 3 * 9 * 32 + (8 * 8 * 9 + 8 * 32) + 8 * 5 * 32
    assert report.weight_bits == bits
    assert report.compression == (8 * 27 + 8 * 72 + 40) * 32 / bits


def test_dorefa_has_one_scale() -> None:
    report = summary(nn.Sequential(nn.Conv2d(3, 4, 3)), 1, 3, 8, 8, mode="dorefa")
    assert (report.mode, report.sites[0].weight_bits) == ("dorefa", 4 * 3 * 9 + 32)


@pytest.mark.parametrize(
    ("levels", "numbers"),
    [("filter_mean", 4), ("tensor_mean", 1), ("power_of_two", 4), ("learned", 4), ("center_distance", 8)],
)
def test_all_numbers_of_the_levels_are_stored(levels: str, numbers: int) -> None:
    compression = {"algorithm": "binarization", "weights": {"levels": levels}}
    conv = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(conv.weight)  # a center may be 0 before training
    model = fxbin.transform(nn.Sequential(conv), config(1, 3, 8, 8) | {"compression": compression})
    assert fxbin.summary(model).sites[0].weight_bits == 4 * 3 * 9 + numbers * 32
    (site,) = fxbin.summary(model, target="openvino").deployment
    reason = "its weights have levels that are not -a and a" if levels == "center_distance" else ""
    assert site.mode is (ExportMode.FLOAT if reason else ExportMode.ONE_BIT)
    assert site.reason == reason or not reason


class Negative(WeightLevels):
    """A scale below 0 in all filters."""

    def of(self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]) -> tuple[None, Tensor]:
        return None, -transformed.abs().mean((1, 2, 3), keepdim=True)


def test_a_scale_below_zero_is_float_before_training_too() -> None:
    compression = {"algorithm": "binarization", "weights": {"levels": "learned"}}
    model = fxbin.transform(
        nn.Sequential(nn.Conv2d(3, 4, 3)), config(1, 3, 8, 8) | {"compression": compression}
    )
    (state,) = model.binarization.sites.values()
    assert isinstance(state.weight, ComposedWeightBinarizer)
    state.weight.rule = Negative()
    (site,) = fxbin.summary(model, target="openvino").deployment
    assert site.reason == "its weight scale is below 0 or not finite in 4 of 4 filters"


def test_element_size_counts() -> None:
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3)), config(1, 3, 8, 8)).half()
    (site,) = fxbin.summary(model).sites
    assert (site.full_precision_bits, site.weight_bits) == (108 * 16, 108 + 4 * 16)


def test_shared_weight_is_stored_once_for_each_form() -> None:
    weight, scales = 4 * 4 * 9, 4 * 32
    report = summary(Shared(), 1, 4, 8, 8)
    assert {site.weight for site in report.sites} == {"conv.weight"}
    assert report.full_precision_bits == weight * 32
    assert report.weight_bits == weight + scales
    report = summary(Shared(), 1, 4, 8, 8, ignored_scopes=["Shared/conv2d_0"])
    assert report.weight_bits == weight * 32 + weight + scales


def test_conv_of_train_mode_only_is_listed_and_not_counted() -> None:
    report = summary(AuxiliaryHead(), 1, 3, 4, 4)
    _, aux = report.sites
    assert (aux.owner, aux.train_only, aux.reason) == ("aux", True, "it runs in train mode only")
    assert report.macs == 4 * 16 * 3
    assert report.full_precision_bits == 12 * 32


def test_module_kept_whole_hides_what_is_inside() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Opaque())
    report = fxbin.summary(fxbin.transform(model, config(1, 3, 4, 4), leaf_modules=(Opaque,)))
    _, hidden = report.sites
    assert (hidden.macs, hidden.weight_shape, hidden.groups, hidden.weight_bits) == (None,) * 4
    assert report.unknown == (hidden.name,)
    assert f"not counted, inside modules kept whole: {hidden.name}" in str(report)
    assert report.macs == 4 * 16 * 3


def test_model_in_which_nothing_is_binarized() -> None:
    with pytest.warns(UserWarning, match="no conv2d is binarized"):
        report = summary(Small(), 2, 3, 8, 8, ignored_scopes=["{re}conv"])
    assert (report.binarized, report.binarized_macs_share, report.compression) == (0, 0.0, 1.0)
    assert "0 of 2 conv2d binarized" in str(report)


def test_specialisations_are_printed() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y if x.shape[2] > 7 else y.relu()

    report = summary(Branches(), 1, 3, 8, 8)
    (found,) = report.specialisations
    assert found.value is True
    assert "taken for granted: (x.shape[2] > 7) = True in Branches" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["specialisations"][0]["value"] == "True"


def test_to_dict_is_json_and_has_the_totals() -> None:
    report = summary(Small(), 2, 3, 8, 8)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["sites"][0]["weight_shape"] == [8, 3, 3, 3]
    assert plain["others"][0]["op"] == "linear"
    assert plain["macs"] == report.macs
    assert plain["stage"] == "full precision"
    assert plain["binarized"] == 2


def test_resnet18() -> None:
    models = pytest.importorskip("torchvision.models")
    report = fxbin.summary(fxbin.transform(models.resnet18(), CONFIGS / "resnet18_imagenet_xnor.json5"))
    assert (report.binarized, len(report.sites)) == (16, 20)
    assert report.macs == 1_814_073_344  # 1.81 G: torchvision's own number
    assert round(report.compression, 1) == 11.2


# Printing.


def test_prints_one_line_a_site_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stdout.isatty()
    print(summary(Small(), 2, 3, 8, 8, ignored_scopes=["{re}conv1"]))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.isascii()
    lines = printed.splitlines()
    assert lines[0].startswith("| conv2d")
    assert lines[2] == (
        "| Small/NNCFConv2d[conv1]/conv2d_0 | 8x3x3x3 | 2x8x8x8 | 13.8 k |  864 B "
        '| no: in ignored_scopes: "{re}conv1" |'
    )
    assert lines[3].endswith("| yes                                |")
    assert lines[5] == "Small: 1 of 2 conv2d binarized (xnor), stage: full precision"
    assert lines[6] == "multiply-accumulates: 50.7 k for one example, 72.7% binarized"
    assert lines[7] == "stored weights: 3.25 KiB -> 1.10 KiB, 3.0 times smaller"
    assert lines[8] == "counted in full precision: 1 linear, 40"


@pytest.mark.parametrize("width", [200, 100, 60, 30])
def test_table_fits_the_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(summary(Small(), 2, 3, 8, 8))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    text = "".join(lines)
    assert ("Small/NNCFConv2d[conv1]/conv2d_0" in text) == (width >= 100)
    assert "2x8x8x8" in text


def test_markup_in_names_is_text() -> None:
    model = nn.Sequential(nn.ModuleDict({"[red]x": nn.Conv2d(3, 3, 1)})["[red]x"])
    model.add_module("[bold]", nn.Conv2d(3, 3, 1))
    assert "NNCFConv2d[[bold]]" in str(summary(model, 1, 3, 4, 4))


@pytest.mark.parametrize("function", [fxbin.summary, fxbin.to_dot, fxbin.to_networkx])
def test_model_that_was_not_transformed(function: Any) -> None:
    with pytest.raises(TransformError, match=r"expected a model that fxbin\.transform returned, got Small$"):
        function(Small())
    wrapped = nn.Sequential(fxbin.transform(Small(), SMALL))
    with pytest.raises(TransformError, match=r"got Sequential; it holds one as `\.0`$"):
        function(wrapped)


class Deployed(nn.Module):
    """One convolution of each fate in OpenVINO."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.easy = nn.Conv2d(16, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 12, 3, padding=1, groups=4)
        self.rewritten = nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rewritten(self.depthwise(self.easy(self.stem(x))))
        return y


def test_a_target_says_before_training_what_will_run_in_one_bit() -> None:
    settings = config(2, 3, 6, 6, ignored_scopes=["Deployed/NNCFConv2d[stem]/conv2d_0"])
    model = fxbin.transform(Deployed(), settings)
    report = fxbin.summary(model, target="openvino")
    assert model.training
    assert model.binarization.stage == "full precision"
    assert [
        (site.name.split("[")[1].split("]")[0], str(site.mode), site.reason) for site in report.deployment
    ] == [
        ("easy", "1 bit", ""),
        ("depthwise", "float", "it has 4 groups"),
        ("rewritten", "1 bit", "4 zero channels added"),
    ]
    assert report.one_bit == 2
    assert report.one_bit_macs == 6 * 6 * (16 * 16 * 9 + 12 * 8)
    assert json.loads(json.dumps(report.to_dict()))["deployment"][1]["mode"] == "float"
    shown = str(report)
    assert "| in OpenVINO" in shown
    assert "| float: it has 4 groups" in shown
    assert "OpenVINO will run 2 of 3 in 1 bit: 7" in shown


@pytest.mark.parametrize(("target", "name"), [("engine", "the engine"), ("onnxruntime", "onnxruntime")])
def test_the_engine_takes_what_openvino_does_not(target: Any, name: str) -> None:
    settings = config(2, 3, 6, 6, ignored_scopes=["Deployed/NNCFConv2d[stem]/conv2d_0"])
    report = fxbin.summary(fxbin.transform(Deployed(), settings), target=target)
    assert [(str(site.mode), site.reason) for site in report.deployment] == [("1 bit", "")] * 3
    assert report.one_bit_macs == report.binarized_macs == 6 * 6 * (16 * 16 * 9 + 16 // 4 * 12 * 9 + 12 * 8)
    assert json.loads(json.dumps(report.to_dict()))["target"] == target
    shown = str(report)
    assert f"| in {name}" in shown
    assert f"{name} will run 3 of 3 in 1 bit: 8" in shown


class Computed(nn.Module):
    """A convolution with a bias that the model holds, and one with a bias that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(4, 4, 3, padding=1)
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain(x)
        return F.conv2d(x, self.plain.weight, self.bias * 2)


@pytest.mark.parametrize("axis", ["output", "input"])
def test_what_the_engine_will_run_is_what_deploy_packs(axis: str) -> None:
    torch.manual_seed(0)
    settings = config(1, 4, 9, 9, params={"weight_scale_axis": axis})
    model = fxbin.transform(Computed(), settings)
    planned = fxbin.summary(model, target="engine").deployment
    model(torch.randn(1, 4, 9, 9))
    model.binarization.enable(activations=True, weights=True)
    model(torch.randn(1, 4, 9, 9))
    packed = fxbin.deploy(model).deployed_sites
    assert [(site.name, site.reason) for site in planned] == [(site.name, site.reason) for site in packed]
    inside = "its weight scale varies inside a filter"
    expected = ["", "its bias is computed"] if axis == "output" else [inside, inside]
    assert [site.reason for site in planned] == expected


def test_without_a_target_nothing_is_said_about_one() -> None:
    report = fxbin.summary(fxbin.transform(Deployed(), config(1, 3, 6, 6)))
    assert (report.target, report.deployment, report.one_bit) == (None, (), 0)
    assert "OpenVINO" not in str(report)
    known = ".engine., .onnxruntime., .openvino., or None"
    with pytest.raises(ExportError, match=rf"target: expected one of {known}, got 'tensorrt'"):
        fxbin.summary(fxbin.transform(Deployed(), config(1, 3, 6, 6)), target="tensorrt")  # type: ignore[arg-type]


def test_names_of_parameters_are_looked_up_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    # Looked up for each layer, the time grows with the square of their number.
    asked: list[nn.Module] = []
    named = nn.Module.named_parameters

    def counting(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        asked.append(module)
        return named(module, *args, **kwargs)

    found = {}
    for count in (2, 12):
        layers = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(count))
        model = fxbin.transform(nn.Sequential(*layers), config(1, 3, 8, 8))
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(nn.Module, "named_parameters", counting)
            assert len(fxbin.summary(model).sites) == count
        found[count] = len(asked)
    assert found[2] == found[12]
