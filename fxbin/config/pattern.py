"""One entry of `ignored_scopes` or `target_scopes`: a node, a module, or a regular expression."""

import re

from fxbin.config.operator_name import is_in_module
from fxbin.errors import ScopeError

REGEX_MARK = "{re}"
"""Marks an entry, at any position, as a regular expression: without the mark, it is searched in names."""


def matches(name: str, pattern: str) -> bool:
    r"""Whether `pattern` selects the node `name`.

    It does if it is equal to the name, if it is PyTorch's name of a module around the node, or, with
    ``{re}``, if it is found anywhere in the name. Raises ScopeError for an invalid expression.

    >>> matches("Net/NNCFConv2d[conv1]/conv2d_0", "Net/NNCFConv2d[conv1]")
    False
    >>> matches("Net/NNCFConv2d[conv1]/conv2d_0", "conv1")
    True
    >>> matches("Net/NNCFConv2d[conv1]/conv2d_0", r"{re}\[conv1\]")
    True
    """
    return matches_text(name, pattern) or (REGEX_MARK not in pattern and is_in_module(name, pattern))


def matches_text(text: str, pattern: str) -> bool:
    """Whether `pattern` is equal to `text` or, with ``{re}``, is found anywhere in it, as in NNCF.

    Raises ScopeError for an invalid expression.
    """
    if REGEX_MARK not in pattern:
        return text == pattern
    if problem := why_invalid(pattern):
        raise ScopeError(f"{pattern!r}: {problem}")
    return re.search(expression(pattern), text) is not None


def is_module_name(pattern: str) -> bool:
    """Whether `pattern` can only be PyTorch's name of a module: names of nodes and scopes have a slash."""
    return REGEX_MARK not in pattern and "/" not in pattern


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
