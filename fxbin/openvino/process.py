"""Runs OpenVINO in a separate process, so that a crash in it is an error here."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxbin import torch_private
from fxbin.errors import ExportError
from fxbin.export.packages import require
from fxbin.verification.time_limit import TIME_LIMIT

WORKER = "fxbin.openvino_worker"
"""Module that the process runs."""

QUIET = {"CI": "true", "NNCF_CI": "1"}
"""Environment variables that stop OpenVINO's converter and NNCF from sending usage data over the network."""

STEP_FILE = "step.txt"
"""File in the folder of a job with the name of the current step of the worker."""

Arrays = Mapping[str, NDArray[Any]]
"""Arrays of a job by key."""


class OpenVINOError(ExportError):
    """OpenVINO refused a file, crashed, or took longer than the time limit."""


def run_in_process(
    kind: str, job: Mapping[str, Any], arrays: Arrays, time_limit: float = TIME_LIMIT
) -> tuple[dict[str, Any], Arrays]:
    """Run a job in `fxbin.openvino_worker`; return its result and its arrays.

    Raises OpenVINOError with what OpenVINO refused, the signal that ended the process, or the step that took
    longer than `time_limit` seconds.
    """
    require("openvino", extra="openvino")
    with tempfile.TemporaryDirectory(prefix="fxbin-openvino-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"time_limit": time_limit, **job}), encoding="utf-8")
        np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]  # its last option is a keyword, too
        done = subprocess.run(  # noqa: S603 (this Python and a module of this package)
            # -P: the current folder is not a place to import from unless it is one here.
            [sys.executable, "-P", "-W", "ignore", "-m", WORKER, kind, name],
            env=os.environ | QUIET | _import_path(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OpenVINOError(_why_it_ended(done, folder / STEP_FILE, time_limit))
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "error" in result:
            raise OpenVINOError(f"OpenVINO: {essence(result['error'])}")
        with np.load(folder / "outputs.npz") as outputs:
            return result, dict(outputs)


def _import_path() -> dict[str, str]:
    """What makes the process find the same packages as this one, whatever has changed `sys.path` here."""
    return {"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}


def _why_it_ended(done: "subprocess.CompletedProcess[str]", step_file: Path, time_limit: float) -> str:
    if done.returncode < 0:
        return f"OpenVINO crashed: {signal.strsignal(-done.returncode)}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if any(line.startswith(torch_private.TIMEOUT) for line in lines):
        step = step_file.read_text(encoding="utf-8")
        return (
            f"OpenVINO was ended after {time_limit:g} s of {step}; use a larger time_limit, or "
            "leave out int8 for the remaining layers if that step does not end"
        )
    return f"OpenVINO stopped: {lines[-1] if lines else f'exit code {done.returncode}'}"


def essence(message: str) -> str:
    """The part of OpenVINO's message that is about the model, not about its own source files."""
    lines = [line.strip() for line in message.splitlines()]
    told = [line for line in lines if line and not line.startswith(torch_private.OPENVINO_PLACES)]
    return " ".join(told[-2:]) if told else message.strip()
