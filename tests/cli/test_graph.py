"""`fxbin graph`."""

from pathlib import Path

import pytest

from tests.cli.commands import exit_code

# As for whoever types a command.
pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")


def test_graph_writes_dot_source(config: Path, tmp_path: Path) -> None:
    assert exit_code("graph", config, "-o", tmp_path / "new" / "net.dot") == 0
    assert (tmp_path / "new" / "net.dot").read_text().startswith(("digraph", "//"))


def test_graph_folds_modules(config: Path, tmp_path: Path) -> None:
    assert exit_code("graph", config, "--collapse", 1, "-o", tmp_path / "net.dot") == 0
    assert "a module, folded" in (tmp_path / "net.dot").read_text()
    assert exit_code("graph", config, "--collapse", 0, "-o", tmp_path / "none.dot") == 2


def test_graph_refuses_a_format_it_does_not_know(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("graph", config, "-o", "new/net.docx") == 2
    assert "net.docx: expected a name that ends in .dot" in capsys.readouterr().err
    assert not Path("new").exists()


def test_graph_prints_what_a_pass_leaves(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("graph", config, "--after", "inline-conv2d", "-o", "net.dot") == 0
    printed = capsys.readouterr().out
    assert "target=torch.conv2d" in printed
    assert "binarizer" not in printed
    assert not Path("net.dot").exists()
    assert exit_code("graph", config, "--after", "insert-weight-binarizers") == 0
    printed = capsys.readouterr().out
    assert "weight_binarizer" in printed
    assert "activation_binarizer" not in printed
    assert exit_code("graph", config, "--after", "fold") == 2
    expected = (
        "--after: expected the name of a pass, name-nodes, mark-call-sites, inline-conv2d, insert-weight"
    )
    assert expected in capsys.readouterr().err.replace("\n", " ")
