"""What the site is made of, without building it: pages, names and links, as GitHub shows them, too."""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

import fxbin
from fxbin.cli.app import COMMANDS
from tools.api_pages import PAGES, ROOMS, overview, page_of
from tools.command_line import command_line
from tools.docstring_markdown import to_markdown
from tools.notebook_page import notebook_page

ROOT = Path(__file__).parents[2]
TOP = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *("examples/README.md", "notebooks/README.md"),
)
NAV = re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [name for page in PAGES.values() for name in page.names]

HIDDEN = {
    "fxbin.binarizers": {"IGNORED_BY_DDP", "ignored_by_ddp", "synchronize"},  # for other rooms of fxbin
    "fxbin.config": {"ConfigSource"},  # a type, which the signatures show
}
"""Names in the `__all__` of public rooms that users need not know."""


def files() -> list[Path]:
    return [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md")), *NOTEBOOKS]


def prose(path: Path) -> str:
    text = notebook_page(path).markdown if path in NOTEBOOKS else path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes for the headings of a file."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", prose(path))
    here = [(path.parent / to if to else path, anchor) for to, anchor in links if ":" not in to]
    assert [to for to, _ in here if not to.exists()] == []
    assert [(to.name, anchor) for to, anchor in here if anchor and anchor not in anchors(to)] == []


def test_navigation_has_every_page_once() -> None:
    made = {
        "index.md",
        "contributing.md",
        "changelog.md",
        "security.md",
        "examples.md",
        "api/index.md",
        "api/command_line.md",
        "tutorials/index.md",
    }
    made |= {f"api/{name}.md" for name in PAGES} | {f"tutorials/{path.stem}.md" for path in NOTEBOOKS}
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in written if page not in NAV] == [], "not in `nav` of mkdocs.yml"
    assert Counter(NAV) == Counter({*made, *written})


def test_reference_has_every_public_name_once() -> None:
    assert [name for name, times in Counter(NAMES).items() if times > 1] == []
    assert {f"fxbin.{name}" for name in fxbin.__all__} == {
        name for name in (*NAMES, *ROOMS) if name.count(".") == 1
    }


@pytest.mark.parametrize("room", ROOMS)
def test_reference_has_the_names_of_each_public_room(room: str) -> None:
    names = set(getattr(importlib.import_module(room), "__all__", ()))
    assert names - {name.rpartition(".")[2] for name in NAMES} == HIDDEN.get(room, set())


@pytest.mark.parametrize("name", NAMES)
def test_name_of_the_reference_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if module == "fxbin.lightning":
        pytest.importorskip("lightning")
    assert getattr(importlib.import_module(module), attribute).__doc__
    assert page_of(name).removeprefix("api/").removesuffix(".md") in PAGES


def test_overview_has_a_line_for_each_name() -> None:
    text = overview({name: f"what {name} does" for name in NAMES})
    assert [name for name in NAMES if f"| [`{name}`][{name}] | what {name} does |" not in text] == []


def test_command_line_has_every_command_with_its_options() -> None:
    sections = command_line().split("\n## fxbin ")[1:]
    assert [section.split()[0] for section in sections] == [*COMMANDS]
    export = sections[[section.split()[0] for section in sections].index("export")]
    assert "fxbin export [OPTIONS] SOURCE OUT" in export
    assert "| `--operators` | " in export
    assert "<" not in re.sub(r"`[^`]*`", "", command_line())  # would be HTML


def test_labelled_blocks_become_a_list() -> None:
    text = (
        "What it does.\n\nShapes:    x and y, same dtype\n           and device.\nSource:    a paper.\nMore."
    )
    assert to_markdown(text).split("\n") == [
        "What it does.",
        "",
        "* **Shapes**: x and y, same dtype and device.",
        "* **Source**: a paper.",
        "",
        "More.",
    ]


def test_examples_become_blocks_of_python() -> None:
    text = "Use it:\n\n    for i in x:\n        f(i)\n\nThen.\n\n>>> f(1)\n2"
    assert to_markdown(text) == (
        "Use it:\n\n```python\nfor i in x:\n    f(i)\n```\n\nThen.\n\n```pycon\n>>> f(1)\n2\n```"
    )


def test_indented_text_that_is_not_python_stays() -> None:
    text = "The graph:\n\n    before:  x -> conv2d\n    after:   x -> y"
    assert to_markdown(text) == text


def test_sections_of_google_style_stay_with_links_in_their_text() -> None:
    text = "Do it.\n\nArgs:\n    model: what `transform` returned.\n\nRaises:\n    ConfigError: not so."
    assert to_markdown(text) == text.replace("`transform`", "[`transform`][fxbin.transform]")


def test_names_become_links() -> None:
    assert to_markdown("`fxbin.deploy`, ``Config`` or `x`: raises ScopeError.") == (
        "[`deploy`][fxbin.deploy], [`Config`][fxbin.Config] or `x`: raises [`ScopeError`][fxbin.ScopeError]."
    )
