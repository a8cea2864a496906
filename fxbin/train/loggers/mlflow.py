"""Sends the metrics of a run to MLflow."""

import os
from typing import Any

from fxbin.train.history import EpochRecord
from fxbin.train.loggers.logger import LoggerRun, metrics_of
from fxbin.train.loggers.run_id import keep_id, kept_id
from fxbin.train.resume import flatten

ID_FILE = "mlflow_run.txt"


class MLflowLog:
    """Sends the metrics of each epoch to MLflow; a resumed run goes on in the same run there.

    Its id is kept in `mlflow_run.txt` in the folder of the run. `options`: `tracking_uri` (by default the
    environment variable MLFLOW_TRACKING_URI, or the file `mlflow.db` in the folder of the run), `experiment`
    and `run`, the name of the run.
    """

    def __init__(self, run: LoggerRun, options: dict[str, Any]) -> None:
        from mlflow.tracking import MlflowClient

        default = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.output.resolve() / 'mlflow.db'}"
        run.output.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=options.get("tracking_uri", default))
        known = kept_id(run, ID_FILE)
        if known is None:
            known = self._new_run(run, options)
        else:
            self._client.set_terminated(known, status="RUNNING")
        self._id = known
        keep_id(run, ID_FILE, known)

    def _new_run(self, run: LoggerRun, options: dict[str, Any]) -> str:
        name = options.get("experiment", "fxbin")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        created = self._client.create_run(experiment, run_name=options.get("run", run.output.name))
        run_id: str = created.info.run_id
        for key, value in flatten(dict(run.config)).items():
            self._client.log_param(run_id, _allowed(key), value)
        return run_id

    def add(self, record: EpochRecord, epoch: int) -> None:
        """Send the metrics of one epoch; `epoch`, from 1 over both phases, is the step."""
        for key, value in metrics_of(record).items():
            self._client.log_metric(self._id, _allowed(key), value, step=epoch)
        self._client.set_tag(self._id, "stage", record.stage)

    def close(self, *, finished: bool) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "KILLED")


def _allowed(key: str) -> str:
    """`key` with ``_`` for what MLflow allows in no name, such as brackets.

    >>> _allowed("fired/Net.NNCFConv2d[conv].conv2d_0")
    'fired/Net.NNCFConv2d_conv_.conv2d_0'
    """
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in key)
