"""From the form of our docstrings to Markdown that shows the same, for the API reference.

Prose, ``Args:`` and ``Raises:`` are understood as they are. What is not:

* blocks with a label in front, which end where the indentation does, become items of a list::

      Shapes:    x and y ``(*)``, same dtype
                 and device.

* indented examples and ``>>>`` become blocks with the colours of Python;
* public names in backticks, and names of errors, become links to the API reference.
"""

import ast
import re
import textwrap
from collections import Counter
from collections.abc import Callable

from tools.api_pages import PAGES

ALWAYS = "Shapes|Units|Errors|Limits|Source|Forward|Backward|Warns"
"""Labels of blocks that may be a single line."""

LABEL = re.compile(r"(\w[\w ]{0,30}):\s+(\S.*)")
ITEM = re.compile(r" {4}\S+: ")
"""What an item of a section starts with: the name of an argument or an exception."""

SECTION = re.compile(r"(Args|Raises|Returns|Yields|Attributes):")

_NAMES = [name for page in PAGES.values() for name in page.names]
_TIMES = Counter(name.rpartition(".")[2] for name in _NAMES)
PUBLIC = {name.rpartition(".")[2]: name for name in _NAMES if _TIMES[name.rpartition(".")[2]] == 1}
"""The public names that one word means."""

REFERENCE = re.compile(r"(?<![`\[\w])(`+)(?:fxbin\.)?(\w+)\1(?![`\]\w])|(?<![`\w.])([A-Z]\w+Error)(?![`\w])")


def to_markdown(text: str) -> str:
    """`text`, a docstring without its indentation, as Markdown with sections in Google style."""
    lines = text.split("\n")
    out: list[str] = []
    while lines:
        if lines[0].startswith(">>> "):
            lines, block = _taken(lines, bool)
            out += ["```pycon", *block, "```"]
        elif _is_example(lines) and (not out or out[-1] == ""):
            lines, block = _taken(lines, lambda line: not line or line.startswith("    "))
            out += ["```python", *textwrap.dedent("\n".join(block)).strip("\n").split("\n"), "```", ""]
        elif section := SECTION.fullmatch(lines[0]):
            lines, block = _taken(lines[1:], lambda line: not line or line[0] == " ")
            out += [section[0], *(_linked_after(ITEM, line) for line in block)]
        elif label := _label(lines):
            lines, block = _taken(lines[1:], lambda line: line.startswith("  "))
            if out and out[-1] and not out[-1].startswith("* **"):
                out.append("")
            words = " ".join([label[1], *(line.strip() for line in block)])
            out.append(f"* **{label[0]}**: {_linked(words)}")
            if lines and lines[0] and not _label(lines):
                out.append("")
        else:
            out.append(_linked(lines.pop(0)))
    return "\n".join(out).strip("\n")


def _taken(lines: list[str], belongs: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """The lines after the first ones that belong to a block, and those."""
    end = next((at for at, line in enumerate(lines) if not belongs(line)), len(lines))
    return lines[end:], lines[:end]


def _label(lines: list[str]) -> tuple[str, str] | None:
    """The label of a block and the rest of its first line; None if no block starts here."""
    match = LABEL.fullmatch(lines[0])
    if match is None:
        return None
    goes_on = len(lines) > 1 and lines[1].startswith("  ")
    return (match[1], match[2]) if goes_on or re.fullmatch(ALWAYS, match[1]) else None


def _is_example(lines: list[str]) -> bool:
    """Whether an indented block starts here that is Python."""
    if not lines[0].startswith("    "):
        return False
    _, block = _taken(lines, lambda line: not line or line.startswith("    "))
    try:
        ast.parse(textwrap.dedent("\n".join(block)))
    except SyntaxError:
        return False
    return True


def _linked(line: str) -> str:
    """Make links of public names in a line of prose."""

    def turned(match: re.Match[str]) -> str:
        word = match[2] or match[3]
        return f"[`{word}`][{PUBLIC[word]}]" if word in PUBLIC else match[0]

    return REFERENCE.sub(turned, line)


def _linked_after(start: re.Pattern[str], line: str) -> str:
    match = start.match(line)
    end = 0 if match is None else match.end()
    return line[:end] + _linked(line[end:])
