"""How messages write a pattern, so that it can be pasted where the user wrote the one they are about."""

import json
import shlex
from collections.abc import Callable

Quote = Callable[[str], str]
"""Puts a pattern in quotes, escaped as the place needs where it is written."""


def for_config(pattern: str) -> str:
    r"""`pattern` as JSON, which is also JSON5 and Python: the value of a key of a config.

    >>> print(for_config(r"{re}\[conv1\]"))
    "{re}\\[conv1\\]"
    """
    return json.dumps(pattern, ensure_ascii=False)


def for_shell(pattern: str) -> str:
    r"""`pattern` as an argument in a POSIX shell, always in quotes.

    >>> print(for_shell(r"{re}\[conv1\]"), for_shell("conv1"))
    '{re}\[conv1\]' 'conv1'
    """
    quoted = shlex.quote(pattern)
    return f"'{pattern}'" if quoted == pattern else quoted
