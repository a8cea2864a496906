"""Sends the metrics of a run to Weights & Biases."""

from typing import Any

from fxbin.train.history import EpochRecord
from fxbin.train.loggers.logger import LoggerRun, metrics_of
from fxbin.train.loggers.run_id import keep_id, kept_id

ID_FILE = "wandb_run.txt"


class WandbLog:
    """Sends the metrics of each epoch to Weights & Biases; a resumed run goes on in the same run there.

    Its id is kept in `wandb_run.txt` in the folder of the run. `options` are passed to `wandb.init`:
    project, entity, group, job_type, tags, notes, mode; `run` is the name of the run. With ``"offline"`` as
    `mode`, nothing is sent until ``wandb sync``.
    """

    def __init__(self, run: LoggerRun, options: dict[str, Any]) -> None:
        import wandb

        own = {key: value for key, value in options.items() if key != "run"}
        known = kept_id(run, ID_FILE)
        self._run = wandb.init(
            dir=str(run.output),
            config=dict(run.config),
            id=known,
            resume="allow" if known is not None else None,
            name=options.get("run", run.output.name),
            **own,
        )
        keep_id(run, ID_FILE, self._run.id)

    def add(self, record: EpochRecord, epoch: int) -> None:
        """Send the metrics of one epoch; `epoch`, from 1 over both phases, is the step."""
        self._run.log({**metrics_of(record), "stage": record.stage, "phase": record.phase}, step=epoch)

    def close(self, *, finished: bool) -> None:
        """Send what is pending, and mark the run as finished or failed."""
        self._run.finish(exit_code=0 if finished else 1)
