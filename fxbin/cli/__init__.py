"""The command line: one module a group of commands, `main` runs them all."""

from fxbin.cli.app import main

__all__ = ["main"]
