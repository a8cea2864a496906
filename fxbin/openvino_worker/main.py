"""Reads a job from its folder, runs it, and writes the result there."""

import faulthandler
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxbin.openvino_worker.benchmark import benchmark
from fxbin.openvino_worker.convert import convert
from fxbin.openvino_worker.job import Arrays, MisfitError, Result, StartStep
from fxbin.openvino_worker.run import run

JOBS: dict[str, Callable[[Mapping[str, Any], Arrays, StartStep], Result]] = {
    "run": run,
    "convert": convert,
    "benchmark": benchmark,
}


def main(kind: str, folder: Path) -> None:
    """Run the job in `folder`, of this `kind`. A file that OpenVINO refuses gives a result with the error."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))

    def start_step(name: str) -> None:
        (folder / "step.txt").write_text(name, encoding="utf-8")
        # Its watchdog thread does not need the GIL, so it ends the process even while OpenVINO hangs.
        faulthandler.dump_traceback_later(job["time_limit"], exit=True)

    start_step("loading OpenVINO")
    with np.load(folder / "inputs.npz") as arrays:
        try:
            result, outputs = JOBS[kind](job, arrays, start_step)
        except (RuntimeError, MisfitError) as error:
            result, outputs = {"error": str(error)}, {}
    np.savez(folder / "outputs.npz", **outputs)  # type: ignore[arg-type]  # its last option is a keyword, too
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
