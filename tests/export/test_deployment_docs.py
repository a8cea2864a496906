"""The examples of docs/deployment.md run as they stand and print what the page says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from fxbin.engine.library import Engine

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


def test_the_examples_print_what_the_page_says(
    built: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    expected = "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(code, names)
    assert output.getvalue() == expected
