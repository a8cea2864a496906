"""docs/config.md: its tables are what the code says, its examples run."""

import re
from pathlib import Path

import pytest

from fxbin.config import config_tables, load_config

PAGE = (Path(__file__).parents[2] / "docs/config.md").read_text(encoding="utf-8")
TABLES = config_tables()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("title", TABLES)
def test_table_is_current(title: str) -> None:
    _, _, rest = PAGE.partition(f"# {title}\n")
    tables = re.findall(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert tables, f"docs/config.md has no section {title}"
    assert tables[0].rstrip() == TABLES[title], "copy it from: make schema"


def test_each_table_stands_once() -> None:
    assert len(re.findall(r"^\| --- \|", PAGE, re.MULTILINE)) == len(TABLES)


def test_examples_run_and_print_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for example in blocks("python"):
        exec(example, names)
    assert capsys.readouterr().out == "".join(blocks("text")) != ""


@pytest.mark.parametrize("example", blocks("json5"))
def test_json5_examples_load(example: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json5"
    path.write_text(example)
    assert load_config(path).notes == ()
