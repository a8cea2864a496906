"""`fxbin check`."""

from typing import Annotated

import typer

from fxbin.cli.exit_code import EXIT_ERROR
from fxbin.cli.options import ConfigArgument
from fxbin.cli.source import with_overrides
from fxbin.config import load_config


def check(
    config: ConfigArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The model, if the config does not name one."),
    ] = None,
) -> None:
    """List everything in a config that is wrong or may be surprising, without training.

    With a model, from the config or from --model, also check whether its inputs and scopes match. The
    exit code is 2 if something is wrong.

    Examples: `fxbin check configs/demo.json5`, `fxbin check nncf.json --model torchvision:resnet18`
    """
    from fxbin.train.build import model_of
    from fxbin.train.checks import check as check_config

    found = check_config(str(config))
    if not found.problems:
        settings = with_overrides(load_config(config), model=model)
        if settings.model is None:
            typer.echo("note: no model: scopes are not compared. Name one with --model.")
        else:
            found = check_config(settings, model_of(settings, pretrained=False))
    for label, messages in (("error", found.problems), ("note", found.notes)):
        for message in messages:
            typer.echo(f"{label}: {message}")
    if found.problems:
        raise typer.Exit(EXIT_ERROR)
