"""The command `fxbin`: its subcommands, its own options, and how errors are shown."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

import fxbin
from fxbin.cli.bench import bench
from fxbin.cli.check import check
from fxbin.cli.eval import evaluate
from fxbin.cli.exit_code import EXIT_ERROR
from fxbin.cli.export import export
from fxbin.cli.graph import graph
from fxbin.cli.predict import predict
from fxbin.cli.report import report
from fxbin.cli.scopes import scopes
from fxbin.cli.summary import summary
from fxbin.cli.train import train
from fxbin.cli.verify import verify
from fxbin.errors import FxbinError

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "check": check,
    "eval": evaluate,
    "predict": predict,
    "scopes": scopes,
    "summary": summary,
    "graph": graph,
    "export": export,
    "verify": verify,
    "bench": bench,
    "report": report,
}
"""The commands in the order in which `fxbin --help` lists them."""

app = typer.Typer(
    name="fxbin",
    help="Binarize the convolutions of a PyTorch model: train in stages, inspect the graph, export.",
    # A command that needs no file: an installed package has no configs/.
    epilog="Start with `fxbin summary resnet18_thin`, and with a config of your own go on to `fxbin train`; "
    "the repository has examples in `configs/`. Each command has its own `--help`.",
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    # Bugs show Python's own traceback.
    pretty_exceptions_enable=False,
)


def show_version(is_asked_for: bool) -> None:
    """Print the version and end the command, if --version was given."""
    if is_asked_for:
        typer.echo(f"fxbin {fxbin.__version__}")
        raise typer.Exit


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="On an error, show the Python traceback.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of every command; `main` reads --traceback itself."""


for name, command in COMMANDS.items():
    app.command(name)(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an `FxbinError` becomes one paragraph on stderr and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--traceback"]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            app(words)
    except FxbinError as error:
        if words != given:
            raise
        complain("Error:", "bold red", "\n".join([str(error), *getattr(error, "__notes__", ())]))
        sys.exit(EXIT_ERROR)


def show_warning(message: Warning | str, *_details: object, **_options: object) -> None:
    """Replace `warnings.showwarning`: print only the message, without the line of code that warns."""
    complain("Warning:", "bold yellow", str(message))


def complain(label: str, style: str, text: str) -> None:
    """Print `label` in `style`, and `text` as it is, with its brackets and backslashes, to standard error."""
    Console(stderr=True).print(Text.assemble((label, style), " ", text), soft_wrap=True)
