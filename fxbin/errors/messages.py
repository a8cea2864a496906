"""Names and counts in messages: the first few of many, and those that a misspelt one may stand for."""

import difflib
from collections.abc import Callable, Iterable, Sequence

SHOWN = 5
"""Names that `listed` spells out before it counts the rest."""


def listed(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are.

    >>> listed(["a", "b"])
    'a, b'
    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, noun: str) -> str:
    """`count` with its noun.

    >>> counted(1, "node"), counted(2, "node")
    ('1 node', '2 nodes')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def closest(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The names of `known` that are most like `word`, best first, whatever their case.

    `cutoff` is the ratio of `difflib` above which a name counts, 1 for the same letters.

    >>> closest("adma", ["SGD", "Adam", "AdamW"])
    ['Adam', 'AdamW']
    """
    by_lower_case = {name.lower(): name for name in known}
    return [
        by_lower_case[name] for name in difflib.get_close_matches(word.lower(), by_lower_case, count, cutoff)
    ]


def did_you_mean(
    word: str, known: Iterable[str], count: int = 1, spelled: Callable[[str], str] = repr
) -> str:
    """A question that offers the up to `count` names of `known` closest to `word`; empty if none is close.

    >>> did_you_mean("minst", ["fashion-mnist", "mnist"])
    "Did you mean 'mnist'?"
    >>> did_you_mean("cifar", ["fashion-mnist", "mnist"])
    ''
    """
    close = closest(word, known, count)
    return f"Did you mean {', '.join(map(spelled, close))}?" if close else ""
