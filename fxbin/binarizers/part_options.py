"""Checks of the options of parts, which parts make of themselves; errors say what was expected of which."""

import json
import math
from typing import Any

from fxbin.errors import ConfigError


class OptionError(ConfigError):
    """An option of a part has a value that the part does not take."""

    def __init__(self, part: Any, option: str, expected: str, instead: "OptionError | None" = None) -> None:
        value = getattr(part, option)
        super().__init__(f"{type(part).__name__}.{option}: got {value!r}, expected {expected}")
        self.option = option
        """The name of the option."""
        self.expected = expected
        """What was expected, in words."""
        self.instead = instead
        """The same problem as one of another option, for a user who gave only that."""


def check_number(
    part: Any, option: str, *, above: float | None = None, least: float | None = None, below: float = math.inf
) -> None:
    """Raise OptionError unless the number is `above` or at `least` a bound, and `below` another one."""
    value = _as_float(getattr(part, option))
    is_large = value > above if above is not None else least is None or value >= least
    if not (is_large and value < below):  # which NaN fails
        lower = f"above {above:g}" if above is not None else f"of at least {least:g}"
        kind = "a finite number" if below == math.inf else "a number"
        raise OptionError(
            part, option, f"{kind} {lower}" + (f" and below {below:g}" if below < math.inf else "")
        )


def check_order(part: Any, lower: str, upper: str) -> None:
    """Raise OptionError if the number `lower` is larger than the number `upper`."""
    low, high = _as_float(getattr(part, lower)), _as_float(getattr(part, upper))
    if low > high:
        instead = OptionError(part, upper, f'a number of at least "{lower}", which is {low:g}')
        raise OptionError(part, lower, f'a number of at most "{upper}", which is {high:g}', instead)


def check_choice(part: Any, option: str, known: tuple[str, ...]) -> None:
    """Raise OptionError unless the text is one of `known`."""
    if getattr(part, option) not in known:
        raise OptionError(part, option, f"one of {', '.join(map(json.dumps, known))}")


def _as_float(value: float) -> float:
    """`value` as a float; an int that is too large for one counts as infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
