"""docs/tracing.md, docs/naming.md, docs/other_tracers.md: their examples run and print what the pages say."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

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


def test_the_readme_of_the_room_shows_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(fxbin.tracing.__file__).with_name("README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    model, x = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), torch.zeros(1, 3, 8, 8)
    exec(example, {"model": model, "x": x})
    assert "Sequential/Conv2d[0]/conv2d_0" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["tracing", "naming"])
def test_what_the_page_names_exists(page: str) -> None:
    for name in re.findall(r"`fxbin\.tracing\.values\.reference\.(\w+)`", (DOCS / f"{page}.md").read_text()):
        assert hasattr(fxbin.tracing.values.reference, name)
