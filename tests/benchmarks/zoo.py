"""Transforms models of several libraries (zoos), and checks for each what `transform` promises.

    python tests/benchmarks/zoo.py                          # all lists, hours
    python tests/benchmarks/zoo.py timm --limit 20          # the next twenty
    python tests/benchmarks/zoo.py timm --transform         # only transform each, without checks
    python tests/benchmarks/zoo.py torchvision:resnet18     # one model, again
    python tests/benchmarks/zoo.py timm --memory 22         # more GiB for each, for the largest models
    python tests/benchmarks/zoo.py --table                  # the tables of docs/zoo.md, from results so far
    PYTHONPATH=/tmp/timm python tests/benchmarks/zoo.py timm    # another version of timm

Libraries that are not installed are skipped. Models are built without trained weights, traced at batch size 1
and run at 2 and 5, on images as small as they accept. tests/transform_check.py says what is compared,
tests/zoo_lists.py and tests/other_zoos.py how models are chosen. Each model runs in a separate process, with
limits on time and memory; models that are too large for these are only transformed. Results are appended to
runs/zoo/, one line per model; models with a line are skipped, so delete a line to repeat one. At the end, it
prints the counts and all failures in Markdown.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import FxbinError, TraceError
from tests.torchvision_operators import run_in_python
from tests.transform_check import CONFIG, check
from tests.zoo import build, build_without_data
from tests.zoo_cases import case, inputs_for
from tests.zoo_lists import LIBRARIES, representatives

SECONDS = 1800
"""How long one model may take."""
GIB = 2**30
BYTES = 17
"""Memory that it takes to run a model, per parameter: four copies in float32, and some more."""


class _OriginalError(Exception):
    """A model that does not run as it is: packages are missing, or it wants other inputs."""


@contextmanager
def _blamed_on_the_original() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _OriginalError(_text(error)) from error


def examine(library: str, name: str, memory: int, *, only_transform: bool) -> dict[str, Any]:
    """What becomes of one model, as plain data.

    If it does not fit into so many bytes of memory it is transformed without its weights, and not run.
    """
    warnings.simplefilter("ignore")
    with _blamed_on_the_original():
        model = build_without_data(library, name)
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return {"status": "no conv2d"}
    if only_transform or BYTES * sum(parameter.numel() for parameter in model.parameters()) > memory:
        binarized = _transform(library, name, model)
        islands = [str(island.scope) for island in binarized.islands]
        return {
            "status": "transformed only",
            "sites": len(binarized.binarization.sites),
            "islands": len(islands),
            "notes": islands,
        }
    with _blamed_on_the_original():
        found = case(library, name)
    result = check(found)
    return {
        "status": "differs" if result.problems else "good",
        "problems": result.problems,
        "notes": result.notes,
        "sites": result.sites,
        "islands": result.islands,
        "inputs": [tuple(x.shape) for x in found.inputs(1) if isinstance(x, torch.Tensor)],
    }


def _transform(library: str, name: str, model: nn.Module) -> BinarizedModule:
    inputs = inputs_for(library, name, model)(1)
    try:
        return fxbin.transform(model, CONFIG, example_inputs=inputs)
    except TraceError:
        # A model with islands is run, and needs its weights.
        model = build(library, name).eval()
        with torch.no_grad(), _blamed_on_the_original():
            model(*inputs)
        return fxbin.transform(model, CONFIG, example_inputs=inputs)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:1500]


def _in_child(library: str, name: str, memory: int, *, only_transform: bool) -> dict[str, Any]:
    try:
        return examine(library, name, memory, only_transform=only_transform)
    except FxbinError as error:
        return {"status": "refused", "problems": [_text(error)]}
    except _OriginalError as error:
        return {"status": "the original fails", "notes": [str(error)]}
    except Exception as error:  # noqa: BLE001  (whatever a model does is a line in the table)
        return {"status": "crashed", "problems": [_text(error), traceback.format_exc()[-1500:]]}


def run(library: str, name: str, memory: int, *, only_transform: bool) -> dict[str, Any]:
    """Examine the model in a child process, which shares what is imported."""
    start = time.monotonic()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        found = _in_child(library, name, memory, only_transform=only_transform)
        with os.fdopen(write, "w") as pipe:
            pipe.write(json.dumps(found, default=str))
        os._exit(0)
    os.close(write)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(SECONDS)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    found = json.loads(text) if text else {"status": "crashed", "problems": [f"the process ended: {status}"]}
    return {"model": f"{library}:{name}", **found, "seconds": round(time.monotonic() - start, 1)}


COLUMNS = (
    "models",
    "with conv2d that run",
    "transform",
    "all checks hold",
    "too large to run",
    "have islands",
)


def table(results: list[Path]) -> str:
    """The counts of each list of `results`, then what did not go well, in Markdown."""
    rows = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    others = []
    for path in results:
        lines = read(path)
        counts = Counter(line["status"] for line in lines)
        ours = len(lines) - counts["no conv2d"] - counts["the original fails"]
        transformed = ours - counts["refused"] - counts["crashed"]
        islands = sum(1 for line in lines if line.get("islands"))
        cells = (path.stem, ours, transformed, counts["good"], counts["transformed only"], islands)
        rows.append(f"| {' | '.join(map(str, cells))} |")
        others += [
            f"* `{line['model']}` {line['status']}: {'; '.join(line.get('problems') or line['notes'])[:400]}"
            for line in lines
            if line["status"] not in ("good", "no conv2d", "transformed only")
        ]
    return "\n".join([*rows, "", *others])


def read(results: Path) -> list[dict[str, Any]]:
    """The lines of a file of results, the last one of each model."""
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    return list({line["model"]: line for line in lines}.values())


def missing(library: str, results: Path) -> list[str]:
    """The models that have no results yet."""
    known = {line["model"] for line in read(results)}
    return [name for name in representatives(library) if f"{library}:{name}" not in known]


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=LIBRARIES, help="library, or library:name")
    parser.add_argument("--limit", type=int, default=10_000, help="stop after so many models")
    parser.add_argument("--transform", action="store_true", help="transform only, without weights")
    parser.add_argument("--memory", type=float, default=9, help="GiB for one model")
    parser.add_argument("--table", action="store_true", help="run nothing, print the results so far")
    parser.add_argument("--output", type=Path, default=Path("runs/zoo"))
    args = parser.parse_args()
    if args.table:
        print(table(sorted(args.output.glob("*.jsonl"))))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if find_spec("torchvision"):
        run_in_python()
    args.output.mkdir(parents=True, exist_ok=True)
    left, found = args.limit, set()
    for spec in args.models:
        library, _, name = spec.partition(":")
        if not find_spec(library):
            print(f"{library} is not installed")
            continue
        results = args.output / f"{library}-{_version(library)}{'-transform' * args.transform}.jsonl"
        names = [name] if name else missing(library, results)[:left]
        for name in names:
            line = run(library, name, int(args.memory * GIB), only_transform=args.transform)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line["model"], line["status"], line["seconds"], *line.get("problems", ()), flush=True)
        left -= len(names)
        found.add(results)
    print("\n" + table(sorted(found)))


def _version(library: str) -> str:
    module = importlib.import_module(library)
    return str(getattr(module, "__version__", "")) or importlib.metadata.version(library)


if __name__ == "__main__":
    main()
