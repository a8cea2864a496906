"""docs/rewrites.md: its examples run and print what the page says, its table is what is tested."""

import re

from fxbin.config.binarization import RewriteName
from tests.test_report_docs import DOCS, blocks, run
from tests.test_rewrites_zoo import NETWORKS


def test_page() -> None:
    printed = [text for text in blocks("rewrites.md", "text") if "──" not in text]
    assert run("rewrites.md") == "".join(printed)


def test_all_rewrites_have_a_section() -> None:
    page = (DOCS / "rewrites.md").read_text(encoding="utf-8")
    names = {*RewriteName.__args__}  # type: ignore[attr-defined]
    assert {*re.findall(r"^### (\w+)$", page, re.MULTILINE)} == names
    assert {*re.findall(r'^\| `"(\w+)"` \|', page, re.MULTILINE)} == names


def test_table_of_networks_is_what_is_tested() -> None:
    page = (DOCS / "rewrites.md").read_text(encoding="utf-8")
    rows = [
        f"| {each.library} {each.name} | "
        + " | ".join(f"{done} of {all_}" for done, all_ in (each.shortcuts, each.rprelu, each.pooling))
        + " |"
        for each in NETWORKS
    ]
    assert rows == re.findall(r"^\| (?:torchvision|timm|pytorchcv) .*$", page, re.MULTILINE)
