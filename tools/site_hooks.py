"""Hooks for MkDocs: the pages that are not in docs/, links between all of them, and the API reference.

README.md, CONTRIBUTING.md and so on become pages of the site, and so do the notebooks. Links stay as they
read on GitHub in the files, and are turned here: to pages, or to copies of the files that they lead to. In
prose, public names such as `fxbin.transform` become links to the API reference.
"""

import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

from tools.api_pages import PAGES, ROOMS, overview, page_of
from tools.command_line import command_line
from tools.docstring_markdown import to_markdown
from tools.notebook_page import notebook_page

ROOT = Path(__file__).parents[1]
TOP_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "notebooks/README.md": "tutorials/index.md",
}
"""Files outside docs/ that are pages, and their places in the site."""

NOTEBOOKS = {
    path.relative_to(ROOT).as_posix(): f"tutorials/{path.stem}.md"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}
"""The notebooks, and their places."""

PLACES = TOP_PAGES | NOTEBOOKS

SHOWN = {".json5": "js", ".cff": "yaml", ".py": "python"}
"""Languages of the files that the site shows on a page of their own, by their ending; others are copied."""

LINK = re.compile(r"(\[[\w./]+\.(?:md|ipynb)\])?(?<=\])\(([^)\s#]+)(#[^)\s]*)?\)")
"""A link's target and anchor, and its text if that is the name of a file."""
NAME = re.compile(r"(?<![\[`])`(fxbin(?:\.\w+)+)(\([^`]*\))?`(?![`\]])")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
KNOWN = {*ROOMS, *(name for page in PAGES.values() for name in page.names)}


def on_files(files: Files, config: Any) -> Files:
    """Add pages that are not in docs/, notebooks, the API reference, and the files that pages link to."""
    for name, place in TOP_PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    for name, place in NOTEBOOKS.items():
        _add_notebook(files, config, ROOT / name, place)
    summaries = _summaries()
    files.append(File.generated(config, "api/index.md", content=overview(summaries)))
    files.append(File.generated(config, "api/command_line.md", content=command_line()))
    for name, page in PAGES.items():
        files.append(File.generated(config, f"api/{name}.md", content=page.markdown()))
    sources = [Path(name) for name in PLACES]
    sources += [Path("docs", file.src_uri) for file in files.documentation_pages() if not file.generated_by]
    for path in sorted({path for source in sources for path in _files_linked_from(source)}):
        if files.get_file_from_path(_place(path)) is None:
            files.append(_file(config, path))
    return files


def _add_notebook(files: Files, config: Any, path: Path, place: str) -> None:
    """Add a page for the notebook `path`, its pictures, and the notebook itself."""
    page = notebook_page(path)
    folder = posixpath.dirname(place)
    title, rest = page.markdown.split("\n", 1)
    note = f'<p><a href="{path.name}" download>Download this page as a notebook</a></p>'
    files.append(File.generated(config, place, content=f"{title}\n\n{note}\n{rest}"))
    files.append(File.generated(config, f"{folder}/{path.name}", abs_src_path=str(path)))
    for name, content in page.pictures.items():
        files.append(File.generated(config, f"{folder}/{name}", content=content))


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Turn links and names of a page that is a file of the repository."""
    places = {place: name for name, place in PLACES.items()}
    place = page.file.src_uri
    source = Path(places.get(place, posixpath.join("docs", place)))
    if not (ROOT / source).exists():  # made by `on_files`
        return markdown
    titles = _titles(config["nav"])
    return _outside_fences(
        markdown, lambda text: _name_links(_site_links(text, source, place, titles), place)
    )


def _titles(nav: Any) -> dict[str, str]:
    """The titles in the navigation, by the place of the page."""
    if isinstance(nav, dict):
        return {
            place: title
            for title, entry in nav.items()
            for place, title in ([(entry, title)] if isinstance(entry, str) else _titles(entry).items())
        }
    return {
        place: title for entry in nav if isinstance(entry, dict) for place, title in _titles(entry).items()
    }


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts = FENCE.split(markdown)
    parts[::2] = [change(part) for part in parts[::2]]
    parts[1::2] = [_chain(part) if part.startswith("```mermaid") else part for part in parts[1::2]]
    return "".join(parts)


def _site_links(text: str, source: Path, place: str, titles: dict[str, str]) -> str:
    """`text` of the file `source`, with the links that it has as the page `place` of the site.

    Where the text of a link is the name of a file, it becomes the title of the page.
    """

    def turned(match: re.Match[str]) -> str:
        if (path := _target(source, match[2])) is None:
            return match[0]
        target = _place(path)
        shown = f"[{titles[target]}]" if match[1] and target in titles else match[1] or ""
        return f"{shown}({posixpath.relpath(target, posixpath.dirname(place))}{match[3] or ''})"

    return LINK.sub(turned, text)


def _target(source: Path, link: str) -> Path | None:
    """The file of the repository that a link in `source` leads to; None if it leads elsewhere or nowhere."""
    if ":" in link:
        return None
    path = Path(os.path.normpath(source.parent / link))
    return path if (ROOT / path).exists() else None


def _place(path: Path) -> str:
    """Where a file or folder of the repository is in the site."""
    if path.as_posix() in PLACES:
        return PLACES[path.as_posix()]
    if path.parts[0] == "docs":
        return path.relative_to("docs").as_posix()
    is_page = (ROOT / path).is_dir() or path.suffix in SHOWN
    return f"files/{path.as_posix()}" + (".md" if is_page else "")


def _files_linked_from(source: Path) -> list[Path]:
    path = ROOT / source
    text = notebook_page(path).markdown if source.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    text = "".join(FENCE.split(text)[::2])
    targets = [_target(source, match[2]) for match in LINK.finditer(text)]
    return [path for path in targets if path is not None]


def _file(config: Any, path: Path) -> File:
    """A file or folder of the repository that is no page, for the site: shown on a page, or a copy."""
    place = _place(path)
    if not place.endswith(".md"):
        return File.generated(config, place, abs_src_path=str(ROOT / path))
    folder = (ROOT / path).is_dir()
    shown = sorted((ROOT / path).iterdir()) if folder else [ROOT / path]
    parts = [f"# {path.as_posix()}"]
    for file in shown:
        text = file.read_text(encoding="utf-8").strip()
        parts += [f"## {file.name}"] * folder
        parts.append(f"```{SHOWN.get(file.suffix, 'yaml')}\n{text}\n```")
    return File.generated(config, place, content="\n\n".join(parts) + "\n")


def _name_links(text: str, place: str) -> str:
    """Make public names in the prose of a page links to the API reference; headings stay as they are."""

    def turned(match: re.Match[str]) -> str:
        if match[1] not in KNOWN:
            return match[0]
        code = f"`{match[1]}{match[2] or ''}`"
        if match[1] in ROOMS:
            return f"[{code}]({posixpath.relpath(page_of(match[1]), posixpath.dirname(place))})"
        return f"[{code}][{match[1]}]"

    lines = text.split("\n")
    return "\n".join(line if line.startswith("#") else NAME.sub(turned, line) for line in lines)


def _chain(block: str) -> str:
    """A mermaid chart that is a chain, as boxes: mermaid itself would be loaded from another host."""
    labels = re.findall(r"--> (?:\w+\[\"(.*?)\"\]|(\w+))$", block, re.MULTILINE)
    (first,) = re.findall(r"flowchart TD\s+(\w+) -->", block)
    boxes = [first, *(label or name for label, name in labels)]
    return "\n".join(['<div class="chain">', *(f"<div>{box}</div>" for box in boxes), "</div>"])


def _summaries() -> dict[str, str]:
    """The first line of the docstring of each public name."""
    package = griffe.load("fxbin", search_paths=[str(ROOT)], submodules=True)
    found = {}
    for name in (name for page in PAGES.values() for name in page.names):
        docstring = package[name.removeprefix("fxbin.")].docstring
        if docstring is None:
            raise ValueError(f"{name}: a public name needs a docstring")
        first = to_markdown(docstring.value).split("\n\n")[0]
        found[name] = " ".join(first.split()).replace("|", "\\|")
    return found
