"""docs/living_with_it.md: its examples run and print what the page says."""

from tests.test_report_docs import blocks, run


def test_living_page() -> None:
    assert run("living_with_it.md") == "".join(blocks("living_with_it.md", "text"))
