"""The command line: one module per command; `main` runs them."""

from fxbin.cli.app import main

__all__ = ["main"]
