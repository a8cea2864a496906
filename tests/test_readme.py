"""The README's example runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_through_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("onnxscript")
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert "16 of 20" in printed
    assert printed.splitlines()[-3:] == ["0 full precision", "1 activations", "2 activations and weights"]
    assert (tmp_path / "resnet18.onnx").stat().st_size < 5e6


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README.read_text())  # tests/site checks anchors
    assert links
    missing = [link for link in links if not (README.parent / link).exists()]
    assert missing == []
