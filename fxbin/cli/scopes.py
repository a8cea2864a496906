"""`fxbin scopes`."""

import shutil
import sys
from typing import Annotated

import typer

from fxbin.cli.options import InputOption, ModelOrConfigArgument, SetOption
from fxbin.cli.source import config_for, without_scope_check


def scopes(
    source: ModelOrConfigArgument,
    settings: SetOption = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="CONFIG", help="The config to use with a model's name.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--match", metavar="PATTERN", help="List what this pattern would select.")
    ] = None,
    input_size: InputOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every node, not only conv2d call sites.")
    ] = False,
) -> None:
    """List the names that ignored_scopes and target_scopes in a config refer to.

    Each line has the name, the operator, the shape of the result and, for a conv2d, whether it will be
    binarized and, if not, why. A pattern that matches nothing is only a warning here, so that the list can
    be used to correct it.

    Models are named `resnet_thin`, `resnet18_thin`, `torchvision:NAME`, `timm:NAME`, `pytorchcv:NAME` or
    `path/to/file.py:make_model`.

    Examples: `fxbin scopes configs/demo.json5`, `fxbin scopes torchvision:resnet18 --match "{re}layer1"`
    """
    from fxbin.compiler.transform import transform
    from fxbin.report.scope_rows import list_scopes, matching
    from fxbin.train.build import model_of

    read = config_for(source, input_size, config, settings or ())
    model = transform(model_of(read, pretrained=False), without_scope_check(read))
    rows = list_scopes(model)
    if pattern is not None:
        rows = matching(model, rows, pattern)
    elif not everything:
        rows = [row for row in rows if row.op == "conv2d"]
    # In a file or a pipe, one line for each.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        typer.echo(row.text(width))
