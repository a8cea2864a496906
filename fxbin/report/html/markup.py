"""Text and data inside HTML, so that nothing in a name or a message is taken for markup."""

import json
import re
from html import escape
from importlib import resources
from typing import Any


def text(value: object) -> str:
    """`value` as text for an element or for a quoted attribute.

    >>> text('a<b "c"')
    'a&lt;b &quot;c&quot;'
    """
    return escape(str(value), quote=True)


def breakable(name: str) -> str:
    """`name` as text that may wrap after a dot or a slash, and nowhere else.

    >>> breakable("a.b/c")
    'a.<wbr>b/<wbr>c'
    """
    return text(name).replace(".", ".<wbr>").replace("/", "/<wbr>")


def unbroken(said: str, longest: int) -> str:
    """`said` as text that wraps at spaces, and within words only where these have over `longest` characters.

    >>> unbroken('in scopes: "a.*[b]"', 8)
    'in scopes: <span class="whole">&quot;a.*[b]&quot;</span>'
    """
    return " ".join(
        f'<span class="whole">{text(word)}</span>' if len(word) <= longest and _may_wrap(word) else text(word)
        for word in said.split(" ")
    )


def _may_wrap(word: str) -> bool:
    """Whether a browser may break `word`, which has no space: it does at brackets, slashes and dashes."""
    return re.fullmatch(r"[\w.,:;]*", word) is None


def data_script(name: str, value: Any) -> str:
    r"""A script element that only holds `value` as JSON, under the id `name`.

    >>> print(data_script("d", "</script><b>"))
    <script type="application/json" id="d">"\u003c/script>\u003cb>"</script>
    """
    # JSON in a script element ends at the first "</script", wherever it is; U+2028 is fine in JSON.
    content = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{text(name)}">{content}</script>'


def asset(name: str) -> str:
    """The file `name` of this folder: a style sheet or a script."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


COPY_BUTTON = '<button type="button" class="copy">copy</button>'
"""Copies the text of the `code` element in front of it; the script of the page says so to screen readers."""
