"""docs/accuracy.md: its example runs."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs/accuracy.md").read_text(encoding="utf-8")


def test_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})
