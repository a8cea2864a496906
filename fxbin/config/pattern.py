"""One entry of `ignored_scopes` or `target_scopes`: the whole name of a node, or a regular expression."""

import re

from fxbin.errors import ScopeError

REGEX_MARK = "{re}"
"""Marks an entry, at any position, as a regular expression: without the mark, it is searched in names."""


def matches(name: str, pattern: str) -> bool:
    r"""Whether `pattern` selects the node `name`: is equal to it or, with ``{re}``, is found anywhere in it.

    Raises ScopeError for an invalid expression.

    >>> matches("Net/NNCFConv2d[conv1]/conv2d_0", "Net/NNCFConv2d[conv1]")
    False
    >>> matches("Net/NNCFConv2d[conv1]/conv2d_0", r"{re}\[conv1\]")
    True
    """
    if REGEX_MARK not in pattern:
        return name == pattern
    if problem := why_invalid(pattern):
        raise ScopeError(f"{pattern!r}: {problem}")
    return re.search(expression(pattern), name) is not None


def expression(pattern: str) -> str:
    """The regular expression in `pattern`, without ``{re}``."""
    return pattern.replace(REGEX_MARK, "")


def why_invalid(pattern: str) -> str | None:
    """What is wrong with the expression in `pattern`, and what to do; None if nothing is."""
    if REGEX_MARK not in pattern:
        return None
    try:
        re.compile(expression(pattern))
    except re.error as error:
        return rf"is not a regular expression ({error}). Write brackets of names as \[ and \]."
    return None
