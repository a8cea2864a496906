"""How long `import fxbin` takes, compared with `import torch`.

    python tests/benchmarks/import_time.py [--runs 7] [--check]

Prints medians of the processor time, in seconds, of fresh processes that take turns. `fxbin` loads each of
its names when it is first used, so there are two figures: `import fxbin` alone, and with `fxbin.transform`,
which loads torch. `--check` fails if `import fxbin` takes more than 1.15 times as long as `import torch`.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

LIMIT = 1.15
STATEMENTS = ("import torch", "import fxbin", "import fxbin; fxbin.transform")


def seconds_of(statement: str) -> float:
    """What `statement` takes in a process of its own, without the start of Python."""
    code = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    root = Path(__file__).parents[2]
    return float(subprocess.check_output([sys.executable, "-c", code], cwd=root))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--check", action="store_true", help=f"fail where fxbin takes more than {LIMIT} of torch"
    )
    options = parser.parse_args()
    for statement in STATEMENTS:  # untimed: bytecode is written, files are read into memory
        seconds_of(statement)
    turns = [[seconds_of(statement) for statement in STATEMENTS] for _ in range(options.runs)]
    medians = [statistics.median(column) for column in zip(*turns, strict=True)]
    for statement, median in zip(STATEMENTS, medians, strict=True):
        print(f"{statement:32}{median:7.3f} s{median / medians[0]:7.2f} of torch")
    if options.check and medians[1] > LIMIT * medians[0]:
        sys.exit(f"import fxbin takes more than {LIMIT} of import torch")


if __name__ == "__main__":
    main()
