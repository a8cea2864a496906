"""The examples of the pages that the site begins with run and print what the pages say."""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("words", "which_runtime", "low_accuracy", "coming_from")


@pytest.mark.parametrize("name", PAGES)
def test_examples_print_what_the_page_says(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": name}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(example, f"{name}.md", "exec"), names)
    assert printed.getvalue() == "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))


def test_configs_for_larq_and_brevitas_are_valid() -> None:
    """Each `activations` and `weights` in the tables is a part of a valid config."""
    import json5

    from fxbin import load_config

    text = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    parts = re.findall(r"`((?:activations|weights): \{.*?\})`", text)
    assert len(parts) > 6
    for part in parts:
        compression = {"algorithm": "binarization", **json5.loads(f"{{{part}}}")}
        assert load_config({"compression": compression}).binarization.described
