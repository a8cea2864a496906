"""A C compiler for tests that build the engine."""

import shlex
from pathlib import Path

from fxbin.engine.compiler import find_compilers

WARNINGS = ("-Wall", "-Wextra", "-Wundef", "-Werror")
"""An undefined macro in ``#if`` counts as 0: code that a file needs may be left out without a word."""


def quick_compiler(folder: Path) -> str:
    """A command, put into `folder`, that compiles without optimizing, which takes a third of the time."""
    command = folder / "cc"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(find_compilers()[0].command)} "$@" -O0\n')
    command.chmod(0o700)
    return str(command)
