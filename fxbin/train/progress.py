"""The progress display of a training run: one line per epoch and, on a terminal, a live bar."""

from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fxbin.train.history import EpochRecord

HEADER = (
    f"{'epoch':>7}  {'stage':<24}{'lr':>9}{'wd':>9}{'loss':>8}{'labels':>8}{'teacher':>8}{'train %':>9}"
    f"{'test %':>8}{'fires %':>9}{'flips %':>9}{'seconds':>9}{'images/s':>10}{'left':>9}"
)
"""Column titles over the lines of `epoch_line`: "labels" and "teacher" are the parts of the loss, "left" is
the time until the end of the run if all epochs take as long as this one."""


class TrainingProgress:
    """Receives the progress of a training run. This base class shows nothing, for tests and scripts."""

    def note(self, text: str) -> None:
        """Show one line about anything but an epoch."""

    def run_started(self, epochs: int, batch_size: int) -> None:
        """Report that `epochs` epochs of both phases are to be trained, in batches of so many images."""

    def epoch_started(self, stage: str, epoch: int, epochs: int, batches: int) -> None:
        """Report that epoch `epoch` (from 0) of `epochs` starts, with `batches` batches."""

    def batch_done(self, lr: float, weight_decay: float, loss: float, accuracy: float) -> None:
        """Report a finished batch; loss and accuracy (per cent) are means over the epoch so far."""

    def epoch_done(self, record: EpochRecord, epochs: int) -> None:
        """Report that an epoch of `epochs` is finished and evaluated."""


class ConsoleProgress(TrainingProgress):
    """Prints the progress to a console: one line per epoch and, if it is a terminal, a live bar.

    A context manager: leaving it, also by Ctrl-C, removes the bar.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            TextColumn("{task.fields[epoch]:>7}  {task.description:<23}"),
            TextColumn("{task.fields[numbers]}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[speed]:>9}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._has_header = False
        self._epochs_left: int | None = None
        self._batch_size = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print one line literally, brackets included."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._has_header = False

    def run_started(self, epochs: int, batch_size: int) -> None:
        """Note how much there is to do, for the speed and the time left."""
        self._epochs_left, self._batch_size = epochs, batch_size

    def epoch_started(self, stage: str, epoch: int, epochs: int, batches: int) -> None:
        """Show a new bar for the epoch, below the column titles if those are not directly above."""
        if not self._has_header:
            self.console.print(f"[bold]{HEADER}[/bold]", highlight=False, soft_wrap=True)
            self._has_header = True
        shown = f"{epoch + 1}/{epochs}"
        self._task = self._bar.add_task(stage, total=batches, epoch=shown, numbers="", speed="")

    def batch_done(self, lr: float, weight_decay: float, loss: float, accuracy: float) -> None:
        """Advance the bar by one batch."""
        if self._task is not None:
            numbers = f"{lr:9.2e}{weight_decay:9.1e}{loss:8.3f}{accuracy:9.2f}"
            speed = self._bar.tasks[-1].speed
            shown = f"{speed * self._batch_size:.0f}/s" if speed else ""
            self._bar.update(self._task, advance=1, numbers=numbers, speed=shown)

    def epoch_done(self, record: EpochRecord, epochs: int) -> None:
        """Replace the bar by the epoch's line."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        left = None
        if self._epochs_left is not None:
            self._epochs_left -= 1
            left = record.seconds * self._epochs_left
        self.console.print(epoch_line(record, epochs, left), highlight=False, soft_wrap=True)


def epoch_line(record: EpochRecord, epochs: int, left: float | None = None) -> str:
    """One row under `HEADER`; fires and flips are means over the call sites, as in `fxbin.Diagnostics`.

    `left` is the number of seconds until the end of the run. The test accuracy of an averaged network, if
    there is one, is appended with its name.

    >>> print(epoch_line(EpochRecord("staged", 1, "activations", 1e-3, 1e-5, 0.5, 80.0, 70.5, 1.0), 18))
       2/18  activations             1.00e-03  1.0e-05   0.500       -       -
       80.00   70.50        -        -      1.0         -        -
    """
    seen = record.diagnostics or {}
    fires, flips = (
        "-" if seen.get(key) is None else f"{100 * seen[key]:.2f}" for key in ("fired", "flipped")
    )
    labels, teacher = (
        "-" if part is None else f"{part:.3f}" for part in (record.label_loss, record.distillation_loss)
    )
    speed = "-" if record.images_per_second is None else f"{record.images_per_second:.0f}"
    remaining = "-" if left is None else duration(left)
    average = "" if record.average_accuracy is None else f"  average {record.average_accuracy:.2f} %"
    return (
        f"{f'{record.epoch + 1}/{epochs}':>7}  {record.stage:<24}{record.lr:9.2e}{record.weight_decay:9.1e}"
        f"{record.loss:8.3f}{labels:>8}{teacher:>8}{record.train_accuracy:9.2f}{record.test_accuracy:8.2f}"
        f"{fires:>9}{flips:>9}{record.seconds:9.1f}{speed:>10}{remaining:>9}{average}"
    )


def duration(seconds: float) -> str:
    """A number of seconds as hours, minutes and seconds.

    >>> duration(59.6), duration(3725)
    ('0:01:00', '1:02:05')
    """
    return str(timedelta(seconds=round(seconds)))
