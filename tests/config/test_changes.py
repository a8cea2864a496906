"""Changes to the content of a config."""

from typing import Any

import pytest

from fxbin.config.changes import LEFT_OUT, Change, parse_change, with_changes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1e-3", 0.001),
        ("a=true", True),
        ("a=null", None),
        ("a={b: [1, 'c']}", {"b": [1, "c"]}),
        ("a=xnor", "xnor"),
        ("a=timm:resnet18", "timm:resnet18"),
        ("a=x=y", "x=y"),
        ("a='3'", "3"),
        ("a={re}conv\\d", "{re}conv\\d"),
        ("a=/data/pictures", "/data/pictures"),
        ("a=", ""),
    ],
)
def test_a_value_is_json5_and_a_bare_word_a_text(text: str, value: Any) -> None:
    assert parse_change(text).value == value


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("a", {}, {"a": 0}),
        ("a.b.c", {}, {"a": {"b": {"c": 0}}}),
        ("a.b", {"a": {"c": 1}}, {"a": {"c": 1, "b": 0}}),
        ("a.b", {"a": [{"c": 1}]}, {"a": [{"c": 1, "b": 0}]}),
        ("a[0].b", {"a": [{"c": 1}]}, {"a": [{"c": 1, "b": 0}]}),
        ("a[0].b", {"a": {"c": 1}}, {"a": {"c": 1, "b": 0}}),
        ("a[1]", {"a": [1, 2]}, {"a": [1, 0]}),
        ("a[0]", {"a": [1]}, {"a": [0]}),
    ],
)
def test_a_key_leads_to_its_place(key: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    given = {**before}
    assert with_changes(given, [parse_change(f"{key}=0")]) == after
    assert given == before


def test_a_key_can_be_left_out() -> None:
    assert with_changes({"a": {"b": 1, "c": 2}}, [Change("a.b", LEFT_OUT)]) == {"a": {"c": 2}}
    assert with_changes({}, [Change("a", LEFT_OUT)]) == {}
