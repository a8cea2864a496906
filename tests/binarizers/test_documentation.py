"""The examples of the two pages about binarizing and training run as they stand."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fxbin.binarizers import parts, registry

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("page", ["binarizers.md", "staged_training.md"])
def test_examples_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_weight_factories", dict(registry._weight_factories))
    monkeypatch.setattr(parts.estimators, "_parts", dict(parts.estimators._parts))
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize(
    ("key", "registered"),
    [
        ("activations.levels", parts.activation_levels),
        ("weights.levels", parts.weight_levels),
        ("weights.latent", parts.latent_transforms),
        ("estimator", parts.estimators),
    ],
)
def test_tables_list_all_parts_with_their_options(key: str, registered: parts.PartRegistry[Any]) -> None:
    text = (DOCS / "binarizers.md").read_text(encoding="utf-8")
    table = text.partition(f"| `{key}` |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)`(.*?) \|", table, re.MULTILINE))
    assert sorted(rows) == list(registered.names)
    for name, options in rows.items():
        fields = dataclasses.fields(registered.make(name))
        assert re.findall(r"`(\w+)(?::|`)", options)[: len(fields)] == [field.name for field in fields]
        for field in fields:
            assert f"{field.name}: {json.dumps(field.default)}" in options or "params" in options
