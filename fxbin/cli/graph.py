"""`fxbin graph`."""

from pathlib import Path
from typing import Annotated

import typer

from fxbin.cli.number_options import whole_number
from fxbin.cli.options import InputOption, ModelOrConfigArgument, SetOption
from fxbin.cli.source import config_for
from fxbin.config import Config
from fxbin.export.output_file import check_writable_file, explained_writing


def graph(
    source: ModelOrConfigArgument,
    settings: SetOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .dot, or .svg, .pdf or .png with Graphviz.")
    ] = Path("graph.svg"),
    input_size: InputOption = None,
    collapse: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="Draw modules that are N deep as one node: 1 for layer1, 2 for layer1.0.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="PASS", help="Print the graphs as they are after this pass, instead of drawing."
        ),
    ] = None,
) -> None:
    """Draw the transformed graph of a model: binarizers, full-precision convolutions with the reason, shapes.

    Examples: `fxbin graph configs/demo.json5 --output demo.svg`,
    `fxbin graph torchvision:resnet18 --collapse 2`
    """
    from fxbin.compiler.transform import transform
    from fxbin.drawing.dot import to_dot
    from fxbin.train.build import model_of
    from fxbin.train.outputs import check_graph_path, save_graph

    if after is not None:
        typer.echo(graphs_after(after, config_for(source, input_size, settings=settings or ())))
        return
    check_graph_path(output)
    check_writable_file(output, "--output")
    read = config_for(source, input_size, settings=settings or ())
    model = transform(model_of(read, pretrained=False), read)
    with explained_writing(output, "--output"):
        save_graph(to_dot(model, collapse=collapse), output)
    typer.echo(f"wrote {output}")


def graphs_after(name: str, settings: Config) -> str:
    """The graphs of the model of `settings` after the pass `name`, as text; that of eval mode comes first.

    Raises:
        ConfigError: no pass has this name.
    """
    from fxbin.compiler.transform import transform
    from fxbin.errors import ConfigError
    from fxbin.passes import PassRun, watch_passes
    from fxbin.train.build import model_of

    graphs: dict[str, list[str]] = {}

    def watch(run: PassRun) -> None:
        graphs.setdefault(run.name, []).append(str(run.graph))

    with watch_passes(watch):
        transform(model_of(settings, pretrained=False), settings)
    if name not in graphs:
        raise ConfigError(f"--after: expected the name of a pass, {', '.join(graphs)}, got {name!r}")
    return "\n\n".join(graphs[name])
