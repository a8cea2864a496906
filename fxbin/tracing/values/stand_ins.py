"""What stands in for something else while a model is traced, and how to see what it stands for."""

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def standing_for(original: Callable[..., Any]) -> Callable[[F], F]:
    """Decorator: the function stands for `original`."""

    def mark(function: F) -> F:
        marked: Any = wraps(original)(function)
        marked._stands_for = original
        return cast("F", marked)

    return mark


def original_of(item: Any) -> Any:
    """What `item` stands for; itself if it is no stand-in."""
    if isinstance(item, FunctionType | type):
        return vars(item).get("_stands_for", item)
    return getattr(item, "_stands_for", item) if type(item).__module__.startswith(_OURS) else item


_OURS = "fxbin.tracing."
