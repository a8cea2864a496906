"""Names in a message."""

from collections.abc import Sequence

SHOWN = 5
"""How many, before the rest is counted."""


def listed(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are.

    >>> listed(["a", "b"])
    'a, b'
    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
