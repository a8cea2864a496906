"""The page as HTML, without a browser: what it holds, and that nothing in a name becomes markup."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.errors import ExportError, TransformError
from fxbin.report.activations import activation_histograms
from fxbin.report.page import whole_page
from fxbin.report.page.content import content_of
from fxbin.report.page.curve_data import charts, stage_bands
from fxbin.report.page.curves import nice_ticks
from fxbin.report.page.graph_data import graph_data
from fxbin.report.page.timings import gains
from fxbin.report.page.whole_page import page
from tests.report.pages import HOSTILE, epochs, large_content, small_content, timings, transformed

MEBIBYTE = 2**20


class Parsed(HTMLParser):
    """Counts elements, and keeps what a browser would show, load and run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        found = dict(attrs)
        self.loaded += [str(found[key]) for key in ("src", "href") if key in found]
        self.handlers += [key for key in found if key.startswith("on")]
        self._script = str(found.get("id", "")) if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = data
        self.text += data


@pytest.fixture(scope="module")
def html() -> str:
    return page(small_content())


@pytest.fixture(scope="module")
def parsed(html: str) -> Parsed:
    return Parsed(html)


def test_page_loads_nothing(html: str, parsed: Parsed) -> None:
    assert [link for link in parsed.loaded if not link.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in html
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "@import" not in html
    assert "url(" not in html


def test_names_never_become_markup(html: str, parsed: Parsed) -> None:
    assert parsed.tags.get("img", 0) == 0
    assert parsed.tags.get("b", 0) == html.count("<b>")
    assert "</pre><b>" not in html
    assert parsed.handlers == []
    assert HOSTILE in parsed.text.replace("\u200b", "")
    names = [node[2] for node in json.loads(parsed.scripts["graph-data"])["nodes"]]
    assert any(name.startswith("conv2d") for name in names)
    assert HOSTILE in str(json.loads(parsed.scripts["graph-data"]))


def test_page_has_all_sections(parsed: Parsed) -> None:
    for heading in ("Overview", "Training", "Layers", "Graph", "Size and speed"):
        assert heading in parsed.text
    for said in (
        "3 of 4 conv2d binarized",
        "80.00 %",
        'in ignored_scopes: "stem"',
        "4.0 times",
        "a processor",
    ):
        assert said in parsed.text


def test_words_of_reasons_do_not_wrap(html: str) -> None:
    assert '<span>in ignored_scopes: <span class="whole">&quot;stem&quot;</span></span>' in html
    assert "<code>body.0.conv</code>" in html  # without places to wrap at, as it is short


def test_parts_without_data_are_left_out() -> None:
    bare = Parsed(page(small_content(inputs=None, epochs=(), best=None, timings=None, facts={}, config="")))
    for heading in ("Training", "Activations around their thresholds", "Size and speed", "Config"):
        assert heading not in bare.text
    assert "fires" not in [*re.findall(r"<span>(\w+)</span>", page(small_content(epochs=(), best=None)))]


def test_page_of_1000_layers_is_below_3_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    content, graph = large_content(1000)
    monkeypatch.setattr(whole_page, "graph_data", lambda *_: graph)
    text = page(content)
    assert text.count("<tr ") == 1000
    assert len(text.encode()) < 3 * MEBIBYTE


def test_graph_data_has_the_operators_and_their_names() -> None:
    model = transformed()
    data = graph_data(model, {"Net/NNCFConv2d[stem]/conv2d_0": "stem"})
    nodes = {
        node[3] or "/".join([data["root"], *scope_of(data, node[0]), node[2]]): node for node in data["nodes"]
    }
    stem = nodes["Net/NNCFConv2d[stem]/conv2d_0"]
    assert data["kinds"][stem[1]] == "full_precision_conv2d"
    assert stem[4:7] == [1, "2×8×8×8", 'in ignored_scopes: "stem"']  # noqa: RUF001 (sizes of a shape)
    conv = nodes["Net/Sequential[body]/Block[0]/NNCFConv2d[conv]/conv2d_0"]
    assert sorted(data["kinds"][data["nodes"][source][1]] for source in conv[7]) == [
        "activation_binarizer",
        "weight_binarizer",
    ]
    assert {"body", "body.0", "body.0.conv", "body.1.conv"} < {name for _, _, name in data["scopes"]}
    assert all(source < number for number, node in enumerate(data["nodes"]) for source in node[7])


def scope_of(data: dict[str, Any], scope: int) -> list[str]:
    return [] if scope < 0 else [*scope_of(data, data["scopes"][scope][0]), data["scopes"][scope][1]]


def test_histogram_counts_activations_relative_to_thresholds() -> None:
    config = {"input_info": {"sample_size": [1, 2, 4, 4]}, "compression": {"algorithm": "binarization"}}
    model = fxbin.transform(nn.Sequential(nn.Conv2d(2, 2, 1)), config)
    model.train()
    (site,) = model.binarization.sites.values()
    threshold = site.activation.levels().threshold.detach().view(-1, 1, 1)
    x = torch.randn(8, 2, 4, 4)
    x[0, 0, 0, 0] = float("nan")
    (found,) = activation_histograms(model, (x,))
    above = x > threshold
    assert found.fired == pytest.approx(above.sum().item() / (x.numel() - 1))
    assert sum(found.counts) == x.numel() - 1
    assert sum(found.counts[20:]) == above.sum().item()
    assert found.reach == pytest.approx((x - threshold)[~x.isnan()].abs().quantile(0.99).item())
    assert model.training
    assert not site.activation._forward_pre_hooks


def test_curves_are_grouped_and_stages_are_bands() -> None:
    recorded = [
        epoch | {"my_metric": 1.0, "diagnostics": {"fired": 0.25, "flipped": None}} for epoch in epochs()
    ]
    found = {chart.title: {curve.label: curve.values for curve in chart.curves} for chart in charts(recorded)}
    assert found["accuracy, %"] == {"held-out": (50.0, 60.0, 70.0, 80.0)}
    assert found["firing and flips in training, %"] == {"activations that fire": (25.0,) * 4}
    assert found["my metric"] == {"my metric": (1.0,) * 4}
    assert [(band.stage, band.first, band.last) for band in stage_bands(recorded)] == [
        ("full precision", 0, 1),
        ("activations", 2, 3),
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (97.31, 98.2), (1e-9, 3e-3), (5, 5), (-2, -1), (0, 0)])
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 8


def test_gain_is_within_one_runtime() -> None:
    (gain,) = gains(timings())
    assert (gain.runtime, gain.before, gain.after) == ("PyTorch", 4e-3, 1e-3)


def test_write_report_writes_a_page(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.html"
    fxbin.write_report(transformed(), path, inputs=torch.randn(2, 3, 8, 8), title="mine")
    assert "<title>mine</title>" in path.read_text(encoding="utf-8")


def test_write_report_refuses_other_names_and_models(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"path: expected a name that ends in \.html, got '.*report\.pdf'"):
        fxbin.write_report(transformed(), tmp_path / "report.pdf")
    with pytest.raises(TransformError, match="write_report"):
        fxbin.write_report(nn.Conv2d(3, 3, 1), tmp_path / "report.html")


def test_a_run_that_has_diverged_shows_that() -> None:
    nan, inf = float("nan"), float("inf")
    recorded = [
        {"stage": "s", "loss": 0.5, "test_accuracy": 50.0, "lr": nan},
        {"stage": "t", "loss": nan, "test_accuracy": inf, "lr": nan},
        {"stage": "t", "loss": nan, "lr": nan},
    ]
    html = page(small_content(epochs=recorded, best=None))
    shown = Parsed(html)
    for legend in ("training loss <b>NaN</b>", "held-out <b>inf</b>", "learning rate <b>NaN</b>"):
        assert legend in html
    assert json.loads(shown.scripts["epochs"])["charts"][1] == [["training loss", [0.5, "NaN", "NaN"]]]
    assert "training loss: NaN or infinite in 2 of 3 epochs, first in epoch 2, stage 't'." in shown.text
    assert "held-out: NaN or infinite in 1 of 2 epochs, first in epoch 2, stage 't'." in shown.text
    assert "learning rate: NaN or infinite in 3 of 3 epochs, first in epoch 1, stage 's'." in shown.text


def test_activations_that_are_not_finite_are_counted_or_said_to_be_the_reason() -> None:
    x = torch.randn(2, 3, 8, 8)
    none = Parsed(page(small_content(inputs=torch.full_like(x, float("nan")))))
    assert "No histograms of activations for 3 of 3 convolutions: all that they got was NaN" in none.text
    assert none.tags.get("figure", 0) == len(charts(epochs()))
    x[0, :, 0, 0] = float("inf")
    some = page(small_content(inputs=x))
    assert "not finite</b>" in some
    assert some.count('<figure class="histogram">') == 3


def test_what_has_nothing_to_show_says_so() -> None:
    assert "The epochs have recorded no numbers." in page(small_content(epochs=[{"stage": "s"}], best=None))
    section = {"algorithm": "binarization", "ignored_scopes": ["0"]}
    config = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": section}
    with pytest.warns(UserWarning, match="no conv2d is binarized"):
        plain = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3)), config)
    notes = content_of(plain, inputs=torch.randn(1, 3, 8, 8)).notes
    assert "No histograms of activations: no convolution is binarized." in notes


def test_epochs_are_numbered_within_their_phase() -> None:
    phases = ["pretraining"] * 2 + ["staged"] * 2
    recorded = [epoch | {"phase": phase} for epoch, phase in zip(epochs(), phases, strict=True)]
    html = page(small_content(epochs=recorded, best=3))
    assert "best.pt <small>epoch 2</small>" in html
    assert html.count("<small>epochs 1\N{EN DASH}2</small>") == 2
    assert '"numbers":[1,2,1,2]' in html


def test_write_report_finds_wrong_arguments_before_it_writes(tmp_path: Path) -> None:
    model, path = transformed(), tmp_path / "report.html"
    path.write_text("old")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"inputs": torch.randn(2, 4, 8, 8)}, "inputs: the model does not run on them: RuntimeError: "),
        ({"inputs": 3}, "inputs: the model does not run on them: "),
        ({"epochs": {"loss": 1}}, "epochs: expected a list"),
        ({"epochs": [1, 2]}, r"epochs\[0\]: expected a mapping"),
        ({"timings": [1]}, "timings: expected what fxbin.benchmark returns, or None, got list"),
        ({"timings": replace(timings(), binarized=9)}, "timings: the times are those of another network"),
        ({"title": 3}, "title: expected text, got int"),
    ]
    for arguments, said in wrong:
        with pytest.raises(ExportError, match=said):
            fxbin.write_report(model, path, **arguments)
    with pytest.raises(ExportError, match=r"the model comes first: fxbin\.write_report\(model, path\)"):
        fxbin.write_report(path, model)  # type: ignore[arg-type]
    assert path.read_text() == "old"


def test_write_report_finds_an_unwritable_path_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.report.page.write.content_of", None)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"path: '.*folder\.html' is a folder"):
        fxbin.write_report(transformed(), tmp_path / "folder.html")
    with pytest.raises(ExportError, match=r"path: '.*y\.html' cannot be written: .*file is not a folder"):
        fxbin.write_report(transformed(), tmp_path / "file" / "y.html")


def test_notebooks_show_the_layers_without_a_script() -> None:
    shown = Parsed(fxbin.summary(transformed(), target="engine")._repr_html_())
    assert "script" not in shown.tags
    assert shown.tags["tr"] == 6  # the heading, four convolutions, one linear layer
    assert shown.tags.get("img", 0) == 0
    assert "engine" in shown.text
    assert "3 of 4 conv2d binarized" in shown.text
