"""The id that a service gave a run, kept in its folder so that the run goes on there when it is resumed."""

from fxbin.train.loggers.logger import LoggerRun


def kept_id(run: LoggerRun, name: str) -> str | None:
    """The id in the file `name` of the run's folder; None for a run that starts now, or without the file."""
    path = run.output / name
    return path.read_text(encoding="utf-8").strip() if run.epochs_done and path.is_file() else None


def keep_id(run: LoggerRun, name: str, value: str) -> None:
    """Write the id `value` to the file `name` of the run's folder."""
    run.output.mkdir(parents=True, exist_ok=True)
    (run.output / name).write_text(f"{value}\n", encoding="utf-8")
