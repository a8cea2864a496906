"""`fxbin check`."""

from typing import Annotated

import typer

from fxbin.cli.exit_code import EXIT_ERROR
from fxbin.cli.options import ConfigArgument, DataDirOption, DataOption, OutputOption, SetOption
from fxbin.cli.source import changes_of, output_folder


def check(
    config: ConfigArgument,
    settings: SetOption = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The model, if the config does not name one."),
    ] = None,
    output: OutputOption = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Check a training that starts over, whatever is in the folder.")
    ] = False,
) -> None:
    """List everything in a config that is wrong or may be surprising, without training.

    These are the checks with which `fxbin train` begins: keys and values, data, device, output folder and the
    run in it, and with a model, from the config or from --model, its inputs, outputs, scopes and trained
    weights, which may have to be downloaded, and features to learn from. The exit code is 2 if something is
    wrong.

    Examples: `fxbin check configs/demo.json5`, `fxbin check nncf.json --model torchvision:resnet18`
    """
    from fxbin.train.checks import check as findings_of

    changes = changes_of(settings or (), model=model, data=data, data_dir=data_dir)
    folder = output_folder(config, output)
    found = findings_of(str(config), changes=changes, output=folder, restart=restart)
    for label, messages in (("error", found.problems), ("note", found.notes)):
        for message in messages:
            typer.echo(f"{label}: {message}")
    if found.problems:
        raise typer.Exit(EXIT_ERROR)
