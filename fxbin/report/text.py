"""Renderables of rich as plain text."""

import io
import sys

from rich.console import Console, RenderableType
from rich.text import Text

UNBOUNDED = 10_000
"""Width in columns where no terminal limits it, so that each row is one line of any length."""


def as_text(renderable: RenderableType) -> str:
    """`renderable` as text without colours, as wide as the terminal, or unlimited if there is none.

    What is too wide for the terminal, such as an `unbroken` line, is continued by the terminal, not cut off.
    """
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = Console().width if on_terminal else UNBOUNDED
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        force_terminal=on_terminal,  # without colours, this only tells what the text is for
        force_jupyter=False,  # or rich shows an output of its own below the cell of a notebook
    )
    with console.capture() as capture:
        console.print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")


def unbroken(text: Text) -> Text:
    """`text` as one line, however long, so that a name in it can be copied from the terminal."""
    line = text.copy()
    line.no_wrap, line.overflow = True, "ignore"
    return line
