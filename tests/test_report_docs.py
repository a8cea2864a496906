"""docs/summary.md, graphs.md and report.md: their examples run and print what the pages say."""

import contextlib
import html
import io
import re
from pathlib import Path

import graphviz
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(page: str) -> str:
    """Run the examples of a page one after the other; what they printed."""
    names: dict[str, object] = {"__name__": "docs"}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for block in blocks(page, "python"):
            exec(block, names)
    return printed.getvalue()


def test_summary_page() -> None:
    printed = run("summary.md")
    assert printed == "".join(blocks("summary.md", "text"))


def test_report_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("report.md") == ""
    assert "<h1>Sequential</h1>" in Path("report.html").read_text(encoding="utf-8")


def test_pictures_are_there_and_small() -> None:
    for page in ("graphs.md", "report.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text):
            assert (DOCS / picture).stat().st_size < 300_000


def test_graphs_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    monkeypatch.setattr(
        graphviz.Digraph, "render", lambda self, *args, **kwargs: rendered.append(self.source)
    )
    printed = run("graphs.md")
    assert [printed] == blocks("graphs.md", "text")
    (source,) = rendered
    drawn = set(re.findall(r'tooltip="([^"\n]+)', source))
    picture = html.unescape((DOCS / "images/rewritten.svg").read_text(encoding="utf-8"))
    assert not [name for name in drawn if name not in picture], "draw docs/images/rewritten.svg again"
