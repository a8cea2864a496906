"""CONTRIBUTING.md: its example runs, what it links to and names exists, and its map has every room."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_example_prints_what_the_page_shows() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (expected,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(example, "CONTRIBUTING.md", "exec"), {"__name__": "contributing"})
    assert printed.getvalue() == expected


def test_links_and_paths_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    paths = [path for path in re.findall(r"`([\w./]+/[\w./]*)`", PAGE) if "remove_identities" not in path]
    assert links
    assert paths
    tops = (ROOT, ROOT / "fxbin")  # inside fxbin, paths are also given from there
    missing = [path for path in (*links, *paths) if not any((top / path).exists() for top in tops)]
    assert missing == []


def test_the_map_has_every_room() -> None:
    rooms = {path.name for path in (ROOT / "fxbin").iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.name for path in (ROOT / "fxbin").glob("*.py") if not path.name.startswith("__")}
    _, _, section = PAGE.partition("## Where the code lives")
    table = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    (picture,) = re.findall(r"```mermaid\n(.*?)```", section, re.DOTALL)
    assert sorted(table) == sorted(rooms)
    assert [room for room in rooms if not re.search(rf"\b{room.removesuffix('.py')}\b", picture)] == []
