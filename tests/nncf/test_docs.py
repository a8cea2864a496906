"""docs/scopes.md and docs/migrating_from_nncf.md: their examples run and print what the pages say."""

import contextlib
import io
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fxbin.errors
from fxbin.config import Params
from tests.tiny_resnet import TinyResNet

ROOT = Path(__file__).parents[2]
PAGES = ("scopes", "migrating_from_nncf")


def text_of(page: str) -> str:
    return (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_examples_print_what_the_page_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "tests/data/nncf_tiny_xnor.pth", tmp_path / "old.pth")
    monkeypatch.chdir(tmp_path)
    models: Any = ModuleType("my_models")
    models.TinyResNet = TinyResNet
    monkeypatch.setitem(sys.modules, "my_models", models)
    namespace: dict[str, Any] = {}
    printed = ""
    for language, block in re.findall(r"```(python|text)\n(.*?)```", text_of(page), re.DOTALL):
        if language == "text":
            assert printed == block
        else:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(block, page, "exec"), namespace)
            printed = output.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", text_of(page))
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_text_exist(page: str) -> None:
    names = set(re.findall(r"`(?:fxbin\.)(\w+)", text_of(page)))
    assert [name for name in names if not hasattr(fxbin, name)] == []
    params = set(re.findall(r"`params\.(\w+)", text_of(page)))
    assert params <= Params.model_fields.keys()
