"""Keeps the results of tests/benchmarks/accuracy.py in accuracy_runs.jsonl: one run a line.

    python tests/benchmarks/accuracy_runs.py runs/accuracy/*.json    # adds what accuracy.py wrote with --json

A run of the same settings and seed replaces the earlier one. What is kept of a run: `config`, `changes` and
`teacher` as on the command line, `settings` (compression, distillation), protocol, seed, `scored` ("test" or
"validation"), accuracies in per cent of the network before its stages (`full_precision`) and after them
(`binarized`; null if there were none), the number of parameters, the version of torch.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_suffix(".jsonl")
IDENTITY = ("config", "changes", "teacher", "protocol", "seed", "scored")


def read(path: Path = PATH) -> list[dict[str, Any]]:
    """All runs."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def add(results: list[Path], path: Path = PATH) -> None:
    """Add the runs in the files `results` to those in `path`, and sort them."""
    runs = {_identity(run): run for run in read(path)}
    for run in (_kept(json.loads(result.read_text(encoding="utf-8"))) for result in results):
        runs[_identity(run)] = run
    lines = [json.dumps(run) for _, run in sorted(runs.items())]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def accuracies(
    protocol: str,
    config: str,
    key: str,
    path: Path = PATH,
    *,
    teacher: str | None = None,
    changes: Sequence[str] = (),
) -> list[float]:
    """The accuracies `key` on the test images, of all runs of `config` with these `changes`, one a seed."""
    wanted: dict[str, Any] = {"protocol": protocol, "config": config, "scored": "test"}
    wanted |= {"teacher": teacher, "changes": [*changes]}
    return [run[key] for run in read(path) if wanted.items() <= run.items()]


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    scored = "validation" if result["test"] is None else "test"
    accuracy = result[scored]
    settings = {key: result["settings"].get(key) for key in ("compression", "distillation")}
    kept = {key: result[key] for key in ("config", "changes", "teacher", "protocol", "seed")}
    return kept | {
        "scored": scored,
        "full_precision": accuracy["full_precision"],
        "binarized": accuracy.get("binarized"),
        "parameters": result["parameters"],
        "torch": result["torch"],
        "settings": settings,
    }


def _identity(run: dict[str, Any]) -> str:
    return json.dumps([run[key] for key in IDENTITY])


if __name__ == "__main__":
    add([Path(name) for name in sys.argv[1:]])
