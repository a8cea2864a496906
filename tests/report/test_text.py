"""Text of reports."""

import pytest
import rich.console
import rich.jupyter
from rich.text import Text

from fxbin.report.text import as_text


def test_in_a_notebook_nothing_is_shown_beside_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(rich.jupyter, "display", lambda *segments: shown.append(segments))
    rich.console.Console().print("a")
    assert len(shown) == 1
    assert as_text(Text("b")) == "b"
    assert len(shown) == 1
