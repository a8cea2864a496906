"""Tables for terminals: no word and no name is broken, at any width."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

import fxbin
from fxbin.config.operator_name import short_names
from fxbin.openvino.verify_report import LayerCheck, VerifyReport
from fxbin.report.grid import Column, Grid, Widest
from fxbin.report.scope_rows import ScopeRow
from fxbin.report.text import as_text
from fxbin.runtimes.report import RuntimeReport, RuntimeResult
from fxbin.verification.output_check import OutputCheck
from tests.report.pages import timings
from tests.tiny_resnet import TinyResNet

COLUMNS = [Column("name"), Column("size", "right"), Column("why", wraps=True)]
ROWS = [
    ["layer1.0.conv1", "64x64x3x3", "yes"],
    ["layer1.0.downsample.0", "1x1", "no: it has 2 groups in all"],
]


def grid() -> Grid:
    return Grid(COLUMNS, [[Text(cell) for cell in row] for row in ROWS])


def printed(renderable: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line for line in capture.get().splitlines() if line.strip())


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\s|,]+", text))


@pytest.mark.parametrize("width", [25, 30, 40, 50, 60, 80, 200])
def test_no_word_is_broken(width: int) -> None:
    text = printed(grid(), width)
    assert {word for row in ROWS for cell in row for word in words(cell)} <= words(text)
    assert max(map(len, text.splitlines())) <= width


def test_wide_terminals_have_a_line_for_each_row() -> None:
    assert printed(grid(), 80).splitlines() == [
        "| name                  |      size | why                        |",
        "|-----------------------|-----------|----------------------------|",
        "| layer1.0.conv1        | 64x64x3x3 | yes                        |",
        "| layer1.0.downsample.0 |       1x1 | no: it has 2 groups in all |",
    ]


def test_sentences_take_several_lines_where_one_does_not_fit() -> None:
    assert printed(grid(), 53).splitlines()[3:] == [
        "| layer1.0.downsample.0 |       1x1 | no: it has 2  |",
        "|                       |           | groups in all |",
    ]


def test_narrow_terminals_have_a_paragraph_for_each_row() -> None:
    assert printed(grid(), 30).splitlines() == [
        "layer1.0.conv1",
        "  size 64x64x3x3, why yes     ",
        "layer1.0.downsample.0",
        "  size 1x1, why no: it has 2  ",
        "  groups in all               ",
    ]


def test_the_most_complete_form_that_fits_is_printed() -> None:
    small = Grid([Column("name")], [[Text("layer1.0.conv1")]])
    assert "why" in printed(Widest([grid(), small]), 80)
    assert printed(Widest([grid(), small]), 30).splitlines()[0] == "| name           |"


def test_paragraphs_are_those_of_the_most_complete_form_whose_names_fit() -> None:
    small = Grid(COLUMNS[:2], [[Text(cell) for cell in row[:2]] for row in ROWS])
    full = Grid(COLUMNS, [[Text(f"{'Net/' * 10}{row[0]}"), *map(Text, row[1:])] for row in ROWS])
    assert printed(Widest([full, grid(), small]), 25) == printed(grid(), 25)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bars_in_cells_are_escaped_where_the_table_is_markdown(is_terminal: bool) -> None:
    table = Grid([Column("name"), Column("why")], [[Text("a|b", "yellow"), Text(r"{re}c|d|")]])
    console = Console(file=io.StringIO(), width=80, color_system=None, force_terminal=is_terminal)
    with console.capture() as capture:
        console.print(table)
    row = capture.get().splitlines()[-1 if capture.get().splitlines()[-1].strip() else -2]
    assert row.rstrip() == ("| a|b  | {re}c|d| |" if is_terminal else r"| a\|b | {re}c\|d\| |")


def config(*ignored: str) -> dict[str, Any]:
    return {
        "input_info": {"sample_size": [1, 3, 16, 16]},
        "compression": {"algorithm": "binarization", "ignored_scopes": [*ignored]},
    }


def test_names_in_a_summary_of_80_columns_are_entries_of_ignored_scopes() -> None:
    report = fxbin.summary(fxbin.transform(TinyResNet(), config("layer1.0.conv1")))
    lines = printed(report, 80).splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]
    assert [name for name in names if name] == list(
        short_names([site.name for site in report.sites]).values()
    )
    assert "layer2.0.downsample.0" in names
    entries = [name for name in names if name][:4]
    left = fxbin.transform(TinyResNet(), config(*entries)).binarization.sites
    assert set(left) == {site.name for site in report.sites[4:]}


@pytest.mark.parametrize("width", [50, 80])
def test_other_tables_break_no_word(width: int) -> None:
    with fxbin.Diagnostics(fxbin.transform(TinyResNet(), config("layer1"))) as diagnostics:
        report = diagnostics.report()
    known = words(printed(report, 500)) | words(printed(timings(), 500)) | {"conv1", "layer2.0.conv1"}
    for renderable in (report, timings()):
        broken = words(printed(renderable, width)) - known
        assert {word for word in broken if not word.startswith(("layer", "-"))} == set()


OUTPUTS = (
    OutputCheck("logits_of_the_auxiliary_classifier_at_stage_3", 2e-4, 1e-4, at_thresholds=False),
    OutputCheck("output", 2e-4, 3e-4, at_thresholds=True),
)
LAYERS = tuple(
    f"ResNet/Sequential[layer{number}]/Bottleneck[0]/Sequential[residual_branch]/NNCFConv2d[conv1]/conv2d_0"
    for number in (1, 2)
)


def verified() -> VerifyReport:
    """The report on a file with two convolutions, of which the second is not in 1 bit."""
    layers = (
        LayerCheck(LAYERS[0], "BinaryConvolution", 0.0, 1e-4),
        LayerCheck(LAYERS[1], "Convolution", 0.5, 1e-4),
    )
    operators = {"BinaryConvolution": 1, "Convolution": 1}
    return VerifyReport(Path("model.onnx"), "2026.4.1", "a CPU", 2, 0, "", 1, operators, OUTPUTS, layers)


def test_verified_layers_in_80_columns_have_names_for_ignored_scopes() -> None:
    assert printed(verified(), 80).splitlines()[-3:] == [
        "| layer                          | runs as     | largest difference | allowed |",
        "|--------------------------------|-------------|--------------------|---------|",
        "| layer2.0.residual_branch.conv1 | Convolution |            5.0e-01 | 1.0e-04 |",
    ]
    assert LAYERS[1] in printed(verified(), 200)


@pytest.mark.parametrize("width", [60, 80])
def test_tables_of_verify_break_no_word(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    results = RuntimeResult("engine", OUTPUTS, 2, LAYERS[1], "it computes in float")
    for report in (verified(), RuntimeReport((results,))):
        whole = words(str(report))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(width))
        lines = as_text(report).splitlines()
        assert {word for word in words(str(report)) - whole if "-" not in word} <= {
            "layer2.0.residual_branch.conv1"
        }
        assert all(len(line) <= width for line in lines if LAYERS[1] not in line)
        monkeypatch.undo()


def test_a_name_longer_than_the_terminal_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    report = RuntimeReport((RuntimeResult("engine", OUTPUTS, 2, LAYERS[0], ""),))
    assert str(report).splitlines()[-1] == f"the first layer that differs: {LAYERS[0]}"
    assert OUTPUTS[0].name in str(report).splitlines()


def test_row_of_scopes_puts_its_name_on_a_line_of_its_own_where_both_do_not_fit() -> None:
    name = "Net/Sequential[layer1]/BasicBlock[0]/NNCFConv2d[conv1]/conv2d_0"
    row = ScopeRow(name, "conv2d", (1, 64, 56, 56), "full precision: in ignored_scopes")
    assert row.text(None) == str(row)
    assert row.text(200) == str(row)
    assert row.text(60).splitlines() == [name, "    conv2d  1x64x56x56  full precision: in ignored_scopes"]
