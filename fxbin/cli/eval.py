"""`fxbin eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fxbin.cli.network import chosen_checkpoint, trained_from
from fxbin.cli.options import (
    AverageOption,
    BestOption,
    DataDirOption,
    DataOption,
    JsonOption,
    OwnConfigOption,
    SetOption,
)
from fxbin.cli.source import changes_of
from fxbin.config.changes import LEFT_OUT, Change, parse_change
from fxbin.errors import ConfigError

if TYPE_CHECKING:
    from fxbin.train.held_out import HeldOutAccuracy


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The folder of a run, its checkpoint.pt, or, with --config, a state_dict.",
            show_default=False,
        ),
    ],
    config: OwnConfigOption = None,
    settings: SetOption = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    average: AverageOption = False,
    best: BestOption = False,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Also print the accuracy of each class.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the accuracy of a trained network on held-out pictures.

    These are the ones that the run held out, unless --data names others: of a folder with `train` and `val`
    those in `val`, of another folder of classes, or of shards, all. Classes are matched by name, and pictures
    become inputs as in the training.

    Examples: `fxbin eval runs/demo`, `fxbin eval runs/demo --best --per-class`,
    `fxbin eval own.pt --config own.json5 --data folder:pictures`
    """
    from fxbin.train.data import open_data
    from fxbin.train.data.kept import class_names, why_not_held_out
    from fxbin.train.device import choose_device
    from fxbin.train.held_out import (
        accuracy_by_class,
        held_out_source,
        labels_of_network,
        with_kept_preprocessing,
    )

    whole = data is not None and _is_whole(data, settings or [])
    changes = [*_of_data(data, whole, settings or []), *changes_of(data_dir=data_dir)]
    source = chosen_checkpoint(source, config, best=best)
    network = trained_from(source, config=config, settings=settings or (), changes=changes, average=average)
    device = choose_device(network.config.device)
    opened = open_data(with_kept_preprocessing(network.config, network.kept)).to(device)
    labels = labels_of_network(opened, network.kept)
    names = class_names(network.kept) or tuple(opened.class_names)
    found = accuracy_by_class(network.model.to(device), opened, names, labels)
    read = held_out_source(network.config.data, network.config.data_held_out)
    about = {"network": source, "stage": str(network.model.binarization.stage), "data": read}
    notes = opened.epoch_notes()
    is_same = network.config.data == network.trained_on
    is_chosen = whole or _names_held_out(settings or [])
    if is_same and not is_chosen and (why := why_not_held_out(network.kept, opened.kept())):
        notes.append(f"data: {why}. Some may have been trained on, and the accuracy may be too high.")
    if whole and is_same:
        notes.append(
            f"--data: {data!r} is what the network was trained on. Leave it out for what was held out."
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        typer.echo(json.dumps(about | {"ema": average} | as_dict(found), indent=2))
        return
    if per_class:
        Console().print(table_of(found))
    of = "averaged parameters, " if average else ""
    typer.echo(
        f"{found.accuracy:.2f} %: {found.correct} of {found.pictures} {'' if whole else 'held-out '}pictures "
        f"of {read} ({of}stage: {about['stage']})"
    )


def _names_held_out(settings: list[str]) -> bool:
    """Whether the values of --set say which pictures are held out."""
    return any(parse_change(text).key == "data_held_out" for text in settings)


def _is_whole(data: str, settings: list[str]) -> bool:
    """Whether all pictures of `data`, the value of --data, are evaluated, as no part of them is held out.

    Raises ConfigError as `_is_split` does.
    """
    if _names_held_out(settings):
        return False
    if data.startswith("folder:"):
        return not _is_split(Path(data.removeprefix("folder:")).expanduser())
    return data.startswith("wds:")


def _is_split(folder: Path) -> bool:
    """Whether pictures that are held out are in a folder beside those to train on.

    Raises ConfigError if there is one of the two alone.
    """
    from fxbin.train.data.folder import HELD_OUT_FOLDERS, TRAINING, folders_in, parts_in

    inside = folders_in(folder)[0] if folder.is_dir() else []
    training, held_out = parts_in(inside)
    if training and held_out:
        return True
    if training or (held_out and len(held_out) == len(inside)):
        lacking = " or ".join(HELD_OUT_FOLDERS) if training else TRAINING
        only = (training or held_out)[0]
        raise ConfigError(
            f"--data: 'folder:{folder}': it has the folder {only!r}, but no {lacking}: write "
            f"'folder:{folder / only}' to evaluate all pictures in that."
        )
    return False


def _of_data(data: str | None, whole: bool, settings: list[str]) -> list[Change]:
    """The changes for `--data`; what the training held out by `data_held_out` is none of other data."""
    if data is None:
        return []
    changes = [Change("data", data, "--data")]
    if _names_held_out(settings):
        return changes
    return [*changes, Change("data_held_out", data if whole else LEFT_OUT, "--data")]


def as_dict(found: "HeldOutAccuracy") -> dict[str, Any]:
    """`found` as JSON values; accuracies are in per cent."""
    classes = [
        {"name": each.name, "pictures": each.pictures, "correct": each.correct, "accuracy": each.accuracy}
        for each in found.classes
    ]
    return {
        "accuracy": found.accuracy,
        "pictures": found.pictures,
        "correct": found.correct,
        "classes": classes,
    }


def table_of(found: "HeldOutAccuracy") -> Table:
    """One row for each class."""
    table = Table()
    table.add_column("class")
    table.add_column("pictures", justify="right")
    table.add_column("correct", justify="right")
    table.add_column("accuracy, %", justify="right")
    for each in found.classes:
        shown = "-" if each.accuracy is None else f"{each.accuracy:.2f}"
        # As text: brackets in a name are no markup.
        table.add_row(Text(each.name), str(each.pictures), str(each.correct), shown)
    return table
