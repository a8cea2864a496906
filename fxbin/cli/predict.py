"""`fxbin predict`."""

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fxbin.cli.exit_code import EXIT_ERROR
from fxbin.cli.network import trained_from
from fxbin.cli.number_options import whole_number
from fxbin.cli.options import AverageOption, BestOption, OwnConfigOption, SetOption

if TYPE_CHECKING:
    from fxbin.train.classifier import Classifier
    from fxbin.train.picture_files import ReadPictures

Prediction = dict[str, Any]
"""``file`` and ``classes``: the most likely ones, each with ``class``, ``label`` and ``probability``."""


class Format(StrEnum):
    """How predictions are printed."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def predict(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The folder of a run, its checkpoint.pt, an exported .onnx file, or, with --config, a "
            "state_dict.",
        ),
    ],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Files or folders.")],
    config: OwnConfigOption = None,
    settings: SetOption = None,
    average: AverageOption = False,
    best: BestOption = False,
    top: Annotated[
        int,
        typer.Option(metavar="N", parser=whole_number(1), help="How many classes to print for each picture."),
    ] = 3,
    output: Annotated[Format, typer.Option("--format", help="How to print them.")] = Format.TEXT,
) -> None:
    """Print the most likely classes of pictures, with their probabilities in per cent.

    Pictures are resized, cropped and normalized as in the training; checkpoints and exported files know how,
    and the names of the classes. A file that cannot be read is named, and the exit code is 2; the others are
    predicted all the same.

    Examples: `fxbin predict runs/flowers photo.jpg --best`,
    `fxbin predict runs/flowers/model.onnx pictures/ --top 1 --format csv > classes.csv`
    """
    from fxbin.train.picture_files import left_out_in, picture_files, read_pictures

    for note in left_out_in(pictures):
        typer.echo(f"note: {note}", err=True)
    files = list(picture_files(pictures))
    classifier = _classifier(source, config, settings or [], average=average, best=best, pictures=len(files))
    printer = _Printer(output)
    bad = 0
    for read in read_pictures(files, classifier.preprocessing, classifier.device):
        for file, reason in read.bad.items():
            typer.echo(f"error: {file} cannot be read: {reason}", err=True)
        bad += len(read.bad)
        for prediction in predictions_of(classifier, read, top):
            printer.show(prediction)
    printer.close()
    if bad:
        typer.echo(f"error: {bad} of {len(files)} files are no pictures that can be read", err=True)
        raise typer.Exit(EXIT_ERROR)


def _classifier(
    source: str, config: str | None, settings: list[str], *, average: bool, best: bool, pictures: int
) -> "Classifier":
    from fxbin.errors import ConfigError
    from fxbin.train.classifier import exported_classifier, trained_classifier
    from fxbin.train.device import choose_device

    if source.endswith(".onnx"):
        for option, given in (
            ("--config", config),
            ("--set", settings),
            ("--ema", average),
            ("--best", best),
        ):
            if given:
                raise ConfigError(f"{option}: {source} is an exported file, leave the option out.")
        return exported_classifier(Path(source))
    network = trained_from(source, config=config, settings=settings, average=average, best=best)
    return trained_classifier(network, choose_device(network.config.device), pictures)


def predictions_of(classifier: "Classifier", read: "ReadPictures", top: int) -> list[Prediction]:
    """The `top` most likely classes of each picture, the first one first."""
    if not read.files:
        return []
    logits = classifier.logits(read.x).float()
    found = logits.softmax(1).topk(min(top, logits.shape[1]))
    return [
        {
            "file": str(file),
            "classes": [
                {"class": classifier.name_of(label), "label": label, "probability": share}
                for share, label in zip(values, labels_of, strict=True)
            ],
        }
        for file, values, labels_of in zip(
            read.files, found.values.tolist(), found.indices.tolist(), strict=True
        )
    ]


class _Printer:
    """Prints predictions one after the other, so that those of many pictures need no memory."""

    def __init__(self, output: Format) -> None:
        self._output = output
        self._count = 0
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        if output is Format.CSV:
            self._csv.writerow(["file", "rank", "class", "label", "probability"])
        elif output is Format.JSON:
            typer.echo("[", nl=False)

    def show(self, prediction: Prediction) -> None:
        """Print one prediction."""
        classes = prediction["classes"]
        if self._output is Format.CSV:
            for rank, each in enumerate(classes, 1):
                share = f"{each['probability']:.6g}"
                self._csv.writerow([prediction["file"], rank, each["class"], each["label"], share])
        elif self._output is Format.JSON:
            typer.echo(("," if self._count else "") + "\n  " + json.dumps(prediction), nl=False)
        else:
            shown = "  ".join(f"{each['class']} {100 * each['probability']:.1f} %" for each in classes)
            typer.echo(f"{prediction['file']}: {shown}")
        self._count += 1

    def close(self) -> None:
        """Print what stands behind the last one."""
        if self._output is Format.JSON:
            typer.echo("\n]" if self._count else "]")
