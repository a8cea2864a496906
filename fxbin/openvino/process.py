"""Runs OpenVINO in a separate process, so that a crash in it is an error here."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fxbin import torch_private
from fxbin.errors import ExportError
from fxbin.export.packages import require
from fxbin.openvino_worker.job import TURN
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
    kind: str,
    job: Mapping[str, Any],
    arrays: Arrays,
    time_limit: float = TIME_LIMIT,
    take_turn: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], Arrays]:
    """Run a job in `fxbin.openvino_worker`; return its result and its arrays.

    Whenever the job gives this process a turn, it waits until `take_turn` has returned.

    Raises OpenVINOError with what OpenVINO refused, the signal that ended the process, or the step that took
    longer than `time_limit` seconds.
    """
    require("openvino", extra="openvino")
    with tempfile.TemporaryDirectory(prefix="fxbin-openvino-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"time_limit": time_limit, **job}), encoding="utf-8")
        np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]  # its last option is a keyword, too
        # -P: the current folder is not a place to import from unless it is one here.
        command = [sys.executable, "-P", "-W", "ignore", "-m", WORKER, kind, name]
        with (folder / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
            code = _run(command, errors, take_turn)
            errors.seek(0)
            if code != 0:
                raise OpenVINOError(_why_it_ended(code, errors.read(), folder / STEP_FILE, time_limit))
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "error" in result:
            raise OpenVINOError(f"OpenVINO: {essence(result['error'])}")
        with np.load(folder / "outputs.npz") as outputs:
            return result, dict(outputs)


def _run(command: list[str], errors: IO[str], take_turn: Callable[[], None]) -> int:
    """Run `command` with its standard error in `errors`; return its exit code."""
    with subprocess.Popen(  # noqa: S603 (this Python and a module of this package)
        command,
        env=os.environ | QUIET | _import_path(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,  # nothing is left to write when the pipe is closed, to a process that may have ended
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.decode(errors="replace").strip() == TURN:
                    take_turn()
                    with suppress(BrokenPipeError):  # it has ended: its exit code says why
                        process.stdin.write(b"\n")
        except BaseException:
            process.kill()
            raise
        return process.wait()


def _import_path() -> dict[str, str]:
    """What makes the process find the same packages as this one, whatever has changed `sys.path` here."""
    return {"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}


def _why_it_ended(code: int, errors: str, step_file: Path, time_limit: float) -> str:
    """What to tell of a process with the exit code `code`, which has written `errors`."""
    if code < 0:
        return f"OpenVINO crashed: {signal.strsignal(-code)}"
    lines = [line for line in errors.splitlines() if line.strip()]
    if any(line.startswith(torch_private.TIMEOUT) for line in lines):
        step = step_file.read_text(encoding="utf-8")
        return (
            f"OpenVINO was ended after {time_limit:g} s of {step}; use a larger time_limit, or "
            "leave out int8 for the remaining layers if that step does not end"
        )
    return f"OpenVINO stopped: {lines[-1] if lines else f'exit code {code}'}"


def essence(message: str) -> str:
    """The part of OpenVINO's message that is about the model, not about its own source files."""
    lines = [line.strip() for line in message.splitlines()]
    told = [line for line in lines if line and not line.startswith(torch_private.OPENVINO_PLACES)]
    return " ".join(told[-2:]) if told else message.strip()
