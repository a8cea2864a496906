"""docs/diagnostics.md: its examples run."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"


def test_the_examples_run_and_print_a_table_an_epoch() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec("".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)), {})
    assert printed.getvalue().count("Sequential/NNCFConv2d[2]/conv2d_0") >= 2
