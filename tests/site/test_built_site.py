"""The site that `make docs` has built: its links, what it loads, and how it works in a browser.

Marked, and so not a part of `make test`, which needs neither the extra `docs` nor a browser.
"""

import os
import shutil
import urllib.parse
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tools.api_pages import PAGES

SITE = Path(__file__).parents[2] / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")}
"""What a page loads by itself, as tag and attribute."""

OPENED = (
    "index.html",
    "words.html",
    "tutorials/own_cnn.html",
    "tutorials/own_pictures.html",
    "tutorials/own_binarizer.html",
    "scopes.html",
    "config.html",
    "presets.html",
    "low_accuracy.html",
    "which_runtime.html",
    "coming_from.html",
    "contributing.html",
    "api/index.html",
    "api/training.html",
    "files/configs/resnet18_imagenet_xnor.json5.html",
)

pytestmark = pytest.mark.site


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            if (tag, name) in LOADED:
                self.loads.append(value)
            if name in {"href", "src"}:
                self.links.append(value)


@cache
def page(path: Path) -> Page:
    return Page(path)


def pages() -> list[Path]:
    found = sorted(SITE.rglob("*.html"))
    assert found, f"{SITE} has no pages: run `make docs`"
    return found


def why_dead(source: Path, link: str) -> str | None:
    """Why a link of the page `source` leads nowhere; None if it leads somewhere, or to another host."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = source if not parts.path else source.parent / urllib.parse.unquote(parts.path)
    if (
        parts.path.startswith("/") and source.name == "404.html"
    ):  # shown for any address, so its links are absolute
        path = SITE / urllib.parse.unquote(parts.path).lstrip("/")
    if path.is_dir():
        path /= "index.html"
    if not path.exists():
        return f"{source.relative_to(SITE)}: {link}: no such file"
    anchor = urllib.parse.unquote(parts.fragment)
    if anchor and path.suffix == ".html" and anchor not in page(path).anchors:
        return f"{source.relative_to(SITE)}: {link}: no such anchor"
    return None


def test_every_link_leads_somewhere() -> None:
    links = [(source, link) for source in pages() for link in page(source).links]
    assert len(links) > 1000
    assert [why for source, link in links if (why := why_dead(source, link))] == []


def test_nothing_is_loaded_from_another_host() -> None:
    loads = [(source.name, link) for source in pages() for link in page(source).loads]
    assert loads
    assert [load for load in loads if urllib.parse.urlsplit(load[1]).netloc] == []


def test_each_name_has_its_anchor() -> None:
    for file, shown in PAGES.items():
        assert set(shown.names) - page(SITE / f"api/{file}.html").anchors == set()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as started:
        # As root, Chromium needs to be told that it may run without its sandbox.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab without network; the test fails if it logs an error or asks another host for something."""
    context = browser.new_context(offline=True)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text) if message.type != "log" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: problems.append(request.url) if request.url[:5] != "file:" else None)
    yield tab
    context.close()
    assert problems == []


def test_pages_open_without_an_error(tab: Any) -> None:
    for name in OPENED:
        tab.goto((SITE / name).as_uri())
        assert tab.locator("h1").first.inner_text().strip()


def test_search_finds_a_page_and_opens_it(tab: Any) -> None:
    tab.goto((SITE / "index.html").as_uri())
    tab.locator("input[name=query]").fill("ignored_scopes")
    found = tab.locator(".md-search-result__link")
    found.first.wait_for()
    assert found.count() > 3
    found.first.click()
    tab.wait_for_url(lambda url: not url.endswith("index.html"))
    assert "ignored_scopes" in tab.locator("article").inner_text()


def test_page_fits_a_phone(tab: Any) -> None:
    tab.set_viewport_size({"width": 400, "height": 800})
    for name in OPENED:
        tab.goto((SITE / name).as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400, name
