"""The options that the examples have in common, checked before anything starts."""

import argparse
from collections.abc import Callable
from pathlib import Path


def read_options(
    folder: str,
    *,
    pictures: int,
    least: int,
    most: int | None = None,
    side_of: int | None = None,
    resumed_from: str | None = None,
) -> argparse.Namespace:
    """The options of the command line; the folder for the output is there afterwards.

    Args:
        folder: default of --output.
        pictures: default of --pictures.
        least: the fewest pictures that the script can work with.
        most: the most pictures that there are; None if they are drawn.
        side_of: what --size is a multiple of; None for a script without that option.
        resumed_from: what --resume goes on from, as a pattern of names in the folder; None for a script
            without that option.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=whole_number(1), default=16)
    parser.add_argument("--pictures", type=whole_number(least, most), default=pictures)
    if side_of is not None:
        parser.add_argument("--size", type=whole_number(32, multiple=side_of), default=64)
    parser.add_argument("--output", type=Path, default=Path(folder))
    if resumed_from is not None:
        parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if resumed_from is not None and options.resume and not [*options.output.glob(resumed_from)]:
        parser.error(f"argument --resume: there is no {resumed_from} in {options.output}; leave it out")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --output: {options.output} cannot be made: {error.strerror}")
    return options


def whole_number(least: int, most: int | None = None, multiple: int = 1) -> Callable[[str], int]:
    """A type for argparse: whole numbers from `least` to `most`, all multiples of `multiple`."""
    kind = "a whole number" if multiple == 1 else f"a multiple of {multiple}"
    bounds = f"from {least} on" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        number = int(text) if text.isdecimal() else -1
        if number < least or (most is not None and number > most) or number % multiple:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {kind} {bounds}")
        return number

    return parse
