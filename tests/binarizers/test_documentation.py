"""The examples of the two pages about binarizing and training run as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest

from fxbin.binarizers import registry

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("page", ["binarizers.md", "staged_training.md"])
def test_examples_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_weight_factories", dict(registry._weight_factories))
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
