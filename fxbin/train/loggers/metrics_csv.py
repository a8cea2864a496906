"""`metrics.csv`: one row for each finished epoch."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fxbin.atomic_write import replace_file
from fxbin.train.history import EpochRecord

COLUMNS = (
    "phase",
    "stage",
    "lr",
    "weight_decay",
    "loss",
    "label_loss",
    "distillation_loss",
    "feature_loss",
    "train_accuracy",
    "test_accuracy",
    "average_accuracy",
    "skipped_steps",
    "images_per_second",
    "seconds",
)
"""Columns after `epoch`: fields of `EpochRecord`. What an epoch does not have is empty."""


class MetricsCsv:
    """Appends a row for each epoch to a CSV file, whose first rows are those of `history`.

    A run that is resumed so has each epoch once, in the numbers of its checkpoint, whatever the file was when
    the run was killed.
    """

    def __init__(self, path: Path, history: Sequence[EpochRecord]) -> None:
        self._path = path
        rows = [",".join(("epoch", *COLUMNS)) + "\n"]
        rows += [_row(record, index) for index, record in enumerate(history, start=1)]
        replace_file(path, "".join(rows))

    def add(self, record: EpochRecord, epoch: int) -> None:
        """Append the row of one epoch; `epoch` counts from 1 over both phases."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(_row(record, epoch))

    def close(self, *, finished: bool) -> None:
        """Do nothing: each row is written at once."""


def _row(record: EpochRecord, epoch: int) -> str:
    values = (getattr(record, column) for column in COLUMNS)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([epoch, *("" if v is None else v for v in values)])
    return stream.getvalue()
