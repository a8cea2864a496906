"""Shapes, counts and sizes as short text."""

import math

Shape = tuple[int, ...]


def shape_text(shape: Shape | None, by: str = "x") -> str:
    """The sizes of `shape`, with `by` between them; a question mark if it is unknown.

    >>> shape_text((1, 64, 7, 7))
    '1x64x7x7'
    """
    return "?" if shape is None else by.join(map(str, shape))


def count_text(number: float) -> str:
    """A count with three digits: ``"704 k"``."""
    return _scaled(number, 1000, ("", " k", " M", " G", " T"))


def size_text(bits: int) -> str:
    """The bytes that hold `bits`, with three digits: ``"3.38 KiB"``."""
    return _scaled(math.ceil(bits / 8), 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    """`number` with three digits and the largest of `units`, each `step` times the one before."""
    power = 0
    while number >= step and power < len(units) - 1:
        number, power = number / step, power + 1
    digits = 0 if power == 0 or number >= 100 else 1 if number >= 10 else 2
    return f"{number:.{digits}f}{units[power]}"
