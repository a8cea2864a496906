"""Patterns that OpenVINO gets wrong without precautions are right in fxbin's export.

The patterns are those of docs/deployment.md. First as they are, in a process of their own; what OpenVINO
makes of them holds for the version that was measured. Then the models they come from, through the export.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fxbin.export import ExportMode
from fxbin.export.plan import plan_export
from fxbin.openvino import LayerCheck, OpenVINOError, OutputCheck, verify
from fxbin.openvino.process import run_in_process
from fxbin.openvino.verify import FULL_FLOAT
from tests.binarizing import binarize
from tests.openvino import raw_patterns
from tests.openvino.raw_patterns import Pattern, write_conv, write_pattern

measured_version = pytest.mark.skipif(
    not openvino.get_version().startswith("2026.4.1"), reason="another version may have other faults"
)


def run_raw(folder: Path, **options: Any) -> tuple[NDArray[Any], int]:
    return in_openvino(folder / "raw.onnx", write_conv(folder / "raw.onnx", **options))


def in_openvino(path: Path, x: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Output of the file, and how many convolutions ran in 1 bit; in a process of its own."""
    job = {"model": str(path), "properties": FULL_FLOAT, "samples": [{"x": "x"}], "layers": []}
    result, outputs = run_in_process("run", job, {"x": x})
    return outputs["sample 0 0"], result["operators"].get("BinaryConvolution", 0)


@measured_version
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 8, "group": 8, "s": 1.0}, "OpenVINO crashed: "),
        ({"channels": 3}, "could not create reorder primitive"),
        ({"channels": 16, "pads": (0, 5)}, "has unsupported parameters"),
    ],
    ids=["grouped with levels 0 and 1", "3 channels", "left padding of 5"],
)
def test_what_stops_openvino_is_an_error_here(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(OpenVINOError, match=message):
        run_raw(tmp_path, **options)


@measured_version
def test_groups_give_nan(tmp_path: Path) -> None:
    output, one_bit = run_raw(tmp_path, channels=16, group=8)
    assert np.isnan(output).all()
    assert one_bit == 0


@measured_version
@pytest.mark.parametrize(
    "pattern",
    [
        raw_patterns.several_consumers,
        raw_patterns.equal_ones_on_one_input,
        raw_patterns.weights_folded,
        raw_patterns.only_weights,
    ],
)
def test_half_a_pattern_gives_nan(tmp_path: Path, pattern: Pattern) -> None:
    output, one_bit = in_openvino(tmp_path / "raw.onnx", write_pattern(tmp_path / "raw.onnx", pattern))
    assert np.isnan(output).all()
    assert one_bit == 0


@measured_version
@pytest.mark.parametrize(
    "pattern", [raw_patterns.scale_per_channel, raw_patterns.weight_scale_per_input_channel]
)
def test_a_scale_per_channel_is_refused(tmp_path: Path, pattern: Pattern) -> None:
    x = write_pattern(tmp_path / "raw.onnx", pattern)
    with pytest.raises(OpenVINOError, match=r"^OpenVINO: "):
        in_openvino(tmp_path / "raw.onnx", x)


@measured_version
@pytest.mark.parametrize(
    "pattern", [raw_patterns.minus_s_and_s, None], ids=["levels -s and s", "12 channels"]
)
def test_wrong_numbers_in_one_bit(tmp_path: Path, pattern: Pattern | None) -> None:
    path = tmp_path / "raw.onnx"
    x = write_conv(path, channels=12) if pattern is None else write_pattern(path, pattern)
    output, one_bit = in_openvino(path, x)
    assert one_bit == 1
    assert np.abs(output - in_onnxruntime(path, x)).max() > 1


@measured_version
def test_a_filter_without_weights_spoils_the_heap(tmp_path: Path) -> None:
    x = write_pattern(tmp_path / "raw.onnx", raw_patterns.filter_of_zeros)
    try:
        output, one_bit = in_openvino(tmp_path / "raw.onnx", x)
    except OpenVINOError:
        return  # it crashed, unless nothing needed what was overwritten
    assert np.isnan(output).any()
    assert one_bit == 0


@measured_version
def test_plain_operators_are_right_in_float(tmp_path: Path) -> None:
    path = tmp_path / "raw.onnx"
    x = write_pattern(path, raw_patterns.greater_and_where)
    output, one_bit = in_openvino(path, x)
    np.testing.assert_allclose(output, in_onnxruntime(path, x), rtol=0, atol=1e-4)
    assert one_bit == 0


def in_onnxruntime(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output: NDArray[Any] = session.run(None, {"x": x})[0]
    return output


class Rows(nn.Module):
    """A branch a row, all on one input, with an output each."""

    def __init__(self, rows: dict[str, nn.Module]) -> None:
        super().__init__()
        self.rows = nn.ModuleDict({f"row{index}": row for index, row in enumerate(rows.values())})
        self.names = list(rows)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: row(x) for name, row in zip(self.names, self.rows.values(), strict=True)}


class First(nn.Module):
    """The first channels only, into a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.conv = channels, nn.Conv2d(channels, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        return self.conv(x[:, : self.channels])


class WithZeros(nn.Module):
    """A convolution with `filters` of zeros, between others in 1 bit."""

    def __init__(self, filters: slice) -> None:
        super().__init__()
        self.first, self.conv, self.last = conv(3, 16), conv(3, 16), conv(3)
        with torch.no_grad():
            self.conv.weight[filters] = 0

    def forward(self, x: Tensor) -> Any:
        return self.last(self.conv(self.first(x)).relu())


class Residual(nn.Module):
    """A block of a ResNet, with what is in front of its end."""

    def __init__(self, *end: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.end = nn.Sequential(*end, nn.Conv2d(16, 8, 1))

    def forward(self, x: Tensor) -> Any:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return self.end((y + x).relu())


class Pair(nn.Module):
    """Two convolutions on one input, whose binarizers get equal constants."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        return self.left(x) + 2 * self.right(x)


class Repeated(nn.Module):
    """One convolution, called twice on one input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3)

    def forward(self, x: Tensor) -> Any:
        return self.conv(x) + 2 * self.conv(x)


def conv(kernel: Any, out: int = 8, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(16, out, kernel, **options)


def rows() -> dict[str, nn.Module]:
    return {
        **{f"kernel {size}": conv(size, padding=size // 2) for size in range(1, 8)},
        "kernel 1x3": conv((1, 3), padding=(0, 1)),
        "stride 2": conv(3, stride=2, padding=1),
        "no padding": conv(3),
        "padding 2": conv(3, padding=2),
        "kernel 7 with padding 3": conv(7, padding=3),
        "dilation 2": conv(3, dilation=2, padding=2),
        "dilation 4": conv(3, dilation=4, padding=4),
        "no bias": conv(3, bias=False),
        "one output channel": conv(3, out=1),
        "output channels 13": conv(3, out=13),
        "BatchNorm, ReLU, pooling in front": nn.Sequential(
            nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), conv(3)
        ),
        "BatchNorm, ReLU, pooling behind": nn.Sequential(
            conv(3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        ),
        "residual block": Residual(),
        "residual block with a BatchNorm at its end": Residual(nn.BatchNorm2d(16)),
        "12 input channels": First(12),
        "3 input channels": First(3),
        "1 input channel": First(1),
        "two equal ones on one input": Pair(),
        "one and the same twice": Repeated(),
        "padding 5": conv(3, padding=5),
        "padding wider than the output": conv((3, 13), padding=(1, 2), stride=(1, 9)),
        "groups": conv(3, groups=4),
        "depthwise": conv(3, out=16, groups=16),
        "groups with levels 0 and 1": conv(3, groups=4),
        "a filter of zeros": WithZeros(slice(3, 4)),
        "only filters of zeros": WithZeros(slice(None)),
    }


FLOAT = {"groups": 1, "depthwise": 1, "groups with levels 0 and 1": 1}
"""Rows with so many convolutions that no exact rewrite brings to 1 bit."""


class Outcome:
    """What came of all rows, in one file."""

    def __init__(self) -> None:
        model = Rows(rows())
        x = torch.randn(2, 16, 12, 12)
        self.model = binarize(model, x)
        for row in ("two equal ones on one input", "one and the same twice"):
            sites = self.model.binarization.sites
            first, second = (site.activation for name, site in sites.items() if self.marker(row) in name)
            second.load_state_dict(first.state_dict())
        marker = self.marker("groups with levels 0 and 1")
        (site,) = (site for name, site in self.model.binarization.sites.items() if marker in name)
        nn.init.zeros_(site.activation.scale)
        self.sites = plan_export(self.model, (x,))
        self.report = verify(self.model, inputs=[x, torch.zeros_like(x)])

    def marker(self, row: str) -> str:
        return f"[row{list(rows()).index(row)}]"

    def of(self, row: str) -> tuple[list[ExportMode], OutputCheck, list[LayerCheck]]:
        marker = self.marker(row)
        (output,) = (output for output in self.report.outputs if output.name == row)
        return (
            [site.mode for site in self.sites if marker in site.name],
            output,
            [layer for layer in self.report.layers if marker in layer.name],
        )


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Outcome()


@pytest.mark.parametrize("row", rows())
def test_after_the_export_every_row_is_right_and_in_one_bit_where_it_can_be(
    outcome: Outcome, row: str
) -> None:
    modes, output, layers = outcome.of(row)
    assert modes.count(ExportMode.FLOAT) == FLOAT.get(row, 0)
    assert modes
    assert [layer.runs_as for layer in layers] == ["BinaryConvolution"] * modes.count(ExportMode.ONE_BIT)
    assert all(layer.difference <= 1e-4 for layer in layers)
    assert output.difference <= 1e-4


def test_the_whole_file_runs_in_one_bit(outcome: Outcome) -> None:
    assert (outcome.report.promised, outcome.report.repeated, outcome.report.found) == (40, 1, 39)
    assert not any(output.at_thresholds for output in outcome.report.outputs)
