import io
from dataclasses import replace

from rich.console import Console

from fxbin.train.history import EpochRecord
from fxbin.train.progress import ConsoleProgress, epoch_line

RECORD = EpochRecord(
    "staged",
    0,
    "activations",
    1e-3,
    1e-5,
    0.5,
    80.0,
    70.5,
    1.0,
    {"fired": 0.025, "flipped": 0.00123},
    label_loss=0.3,
    distillation_loss=0.2,
    images_per_second=640.4,
)


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    with ConsoleProgress(Console(file=stream, force_terminal=terminal, width=120)) as progress:
        progress.run_started(18, 64)
        progress.epoch_started("activations", 0, 18, batches=2)
        progress.batch_done(1e-3, 1e-5, 0.5, 80.0)
        progress.epoch_done(RECORD, 18)
        progress.note("wrote it")
    return stream.getvalue()


def test_without_a_terminal_there_are_plain_lines_only() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0].split() == [
        "epoch",
        "stage",
        "lr",
        "wd",
        "loss",
        "labels",
        "teacher",
        "train",
        "%",
        "test",
        "%",
        "fires",
        "%",
        "flips",
        "%",
        "seconds",
        "images/s",
        "left",
    ]
    assert lines[1].split() == [
        "1/18",
        "activations",
        "1.00e-03",
        "1.0e-05",
        "0.500",
        "0.300",
        "0.200",
        "80.00",
        "70.50",
        "2.50",
        "0.12",
        "1.0",
        "640",
        "0:00:17",
    ]
    assert lines[2:] == ["wrote it"]
    assert "\x1b" not in "".join(lines)


def test_the_accuracy_of_an_average_ends_the_line() -> None:
    line = epoch_line(replace(RECORD, average_accuracy=71.25), 18)
    assert line.endswith("1.0       640        -  average 71.25 %")


def test_a_terminal_also_gets_a_live_bar() -> None:
    assert "━" in shown(terminal=True)


def test_a_note_keeps_what_is_in_brackets() -> None:
    stream = io.StringIO()
    ConsoleProgress(Console(file=stream)).note("pip install 'fxbin[openvino]'")
    assert stream.getvalue() == "pip install 'fxbin[openvino]'\n"
