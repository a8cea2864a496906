"""The command line: one module per group of commands; `main` runs them."""

from fxbin.cli.app import main

__all__ = ["main"]
