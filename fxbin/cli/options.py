"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fxbin.cli.number_options import positive_number

ConfigArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="A JSON5 file; the repository has examples in configs/.", show_default=False
    ),
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="The folder of a run, its checkpoint.pt, a config file, a model's name, or, with --config, a "
        "state_dict.",
        show_default=False,
    ),
]
OwnConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="The config for a model's name, or for a state_dict.",
    ),
]
ModelOrConfigArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL_OR_CONFIG", help="A config file, or a model's name.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a key of the config, as in epochs=3 or pretrain.epochs=2; may be repeated.",
    ),
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="Other data, as the key `data` of a config names them.")
]
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the data set's files.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
InputOption = Annotated[
    str | None,
    typer.Option("--input", metavar="SHAPE", help="Input size for a model given by name, as in 1,3,224,224."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Output folder.", show_default="runs/<config>")
]
AverageOption = Annotated[
    bool, typer.Option("--ema", help="Take the averaged parameters of the checkpoint, not the last ones.")
]
BestOption = Annotated[
    bool,
    typer.Option(
        "--best", help="Take best.pt of the run, the best epoch of its final stage, not its last checkpoint."
    ),
]
TimeLimitOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        parser=positive_number,
        help="Time limit for each OpenVINO step, such as compiling a file.",
    ),
]


def runtime_names(runtimes: str | None) -> Any:
    """The names in a list with commas; None for None."""
    return None if runtimes is None else [name.strip() for name in runtimes.split(",")]
