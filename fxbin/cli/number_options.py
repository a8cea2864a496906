"""Parsers of options that are numbers: errors name the value that was given, which typer's own do not."""

import math
from collections.abc import Callable
from typing import Any

import typer


def whole_number(least: int) -> Callable[[Any], int]:
    """A parser of whole numbers from `least` on.

    >>> whole_number(1)("3")
    3
    """

    def parse(value: Any) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if number < least:
            raise typer.BadParameter(f"got {str(value)!r}, expected a whole number from {least} on.")
        return number

    return parse


def positive_number(value: Any) -> float:
    """Parse a number above 0.

    >>> positive_number("1e-4")
    0.0001
    """
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"got {str(value)!r}, expected a number above 0.")
    return number
