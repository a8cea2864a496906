"""docs/tracing.md, docs/naming.md, docs/other_tracers.md: their examples run and print what the pages say."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

import fxbin.tracing.values.reference

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["tracing", "naming", "other_tracers"])
def test_examples_print_what_the_page_shows(page: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    text, printed = (DOCS / f"{page}.md").read_text(), io.StringIO()
    for language, block in re.findall(r"```(python|text)\n(.*?)```", text, re.DOTALL):
        if language == "text":
            assert printed.getvalue() == block
            printed = io.StringIO()
        else:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(block, "net.py", "exec"), namespace)


@pytest.mark.parametrize("page", ["tracing", "naming"])
def test_what_the_page_names_exists(page: str) -> None:
    for name in re.findall(r"`fxbin\.tracing\.values\.reference\.(\w+)`", (DOCS / f"{page}.md").read_text()):
        assert hasattr(fxbin.tracing.values.reference, name)
