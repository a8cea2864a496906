"""Marks objects that stand for others during a trace, and finds the original of such an object."""

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def standing_for(original: Callable[..., Any]) -> Callable[[F], F]:
    """Decorator that marks a function as a stand-in for `original`."""

    def mark(function: F) -> F:
        marked: Any = wraps(original)(function)
        marked._stands_for = original
        return cast("F", marked)

    return mark


def original_of(item: Any) -> Any:
    """The object that `item` stands for; `item` itself if it is not a stand-in."""
    if isinstance(item, FunctionType | type):
        return vars(item).get("_stands_for", item)
    return getattr(item, "_stands_for", item) if type(item).__module__.startswith(_OURS) else item


_OURS = "fxbin.tracing."
