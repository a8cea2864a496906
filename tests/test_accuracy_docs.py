"""docs/accuracy.md: its example runs. docs/presets.md: a spread is one of several runs."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs/accuracy.md").read_text(encoding="utf-8")


def test_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})


def test_one_run_has_no_spread() -> None:
    pytest.importorskip("matplotlib")
    from tests.benchmarks.presets import PAGE, shown

    assert [shown(values) for values in ([], [89.03], [86.5, 87.0])] == ["-", "89.03 (1)", "86.75 ± 0.25 (2)"]
    assert "± 0.00" not in PAGE.read_text(encoding="utf-8")
