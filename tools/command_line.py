"""The page of the API reference about the command line, from the help texts of its commands."""

from typing import Any

import typer

from fxbin.cli.app import app


def command_line() -> str:
    """Each command with its help text, and a table of its arguments and options, in Markdown."""
    group: Any = typer.main.get_command(app)
    parts = ["# Command line", f"`fxbin COMMAND --help` prints the same. {app.info.epilog}"]
    for name, command in group.commands.items():
        rows = [_row(parameter) for parameter in command.params]
        arguments = [_word(parameter) for parameter in command.params if not _dashes(parameter)]
        table = "\n".join(["| argument or option | meaning | default |", "| --- | --- | --- |", *rows])
        parts += [
            f"## fxbin {name}",
            f"```sh\nfxbin {name} [OPTIONS] {' '.join(arguments)}\n```",
            command.help,
            table,
        ]
    return "\n\n".join(parts) + "\n"


def _row(parameter: Any) -> str:
    """One line of the table."""
    names = ", ".join(f"`{name}`" for name in _dashes(parameter) or [_word(parameter)])
    return f"| {names} | {parameter.help.replace('|', chr(92) + '|')} | {_default(parameter)} |"


def _default(parameter: Any) -> str:
    """The default of an option, as code, or what its help says of it; empty if there is none to speak of."""
    if isinstance(parameter.show_default, str):
        return f"`{parameter.show_default}`"
    value = getattr(parameter.default, "value", parameter.default)
    shown = (
        parameter.show_default and _dashes(parameter) and value not in {None, False} and not callable(value)
    )
    return f"`{value}`" if shown else ""


def _dashes(parameter: Any) -> list[str]:
    """The names of an option; an argument has none."""
    return [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")]


def _word(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())
