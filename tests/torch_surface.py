"""Records which of the private names that fxbin needs the installed torch has.

python tests/torch_surface.py

It writes tests/data/torch_surface/VERSION.txt. `make test-oldest` and `make test-newest` run it, and
tests/test_torch_private.py compares: so a name that another version lacks is noticed without that version.
"""

import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fxbin.torch_private import ATTRIBUTES, INHERITED, NAMED, NAMES, REPLACED, Private  # noqa: E402

FOLDER = ROOT / "tests/data/torch_surface"


def needed() -> dict[str, Private]:
    """The private names of torch, ``home.name``, with their entries."""
    entries = [
        *INHERITED,
        *(each for table in (ATTRIBUTES, NAMED, NAMES, REPLACED) for each in table.values()),
    ]
    of_torch = [each for each in entries if each.home.startswith("torch")]
    return {f"{each.home}.{name}": each for each in of_torch for name in each.names.split()}


def has(path: str, entry: Private) -> bool:
    """Whether the installed torch has the name, which may be an attribute of objects only."""
    from tests.test_torch_private import OBJECTS

    name = path.rpartition(".")[2]
    try:
        home: Any = resolve_name(entry.home)
    except (AttributeError, ImportError):
        return False
    return hasattr(home, name) or (entry.home in OBJECTS and hasattr(OBJECTS[entry.home](), name))


if __name__ == "__main__":
    found = [path for path, entry in needed().items() if has(path, entry)]
    FOLDER.mkdir(exist_ok=True)
    version = torch.__version__.partition("+")[0]
    (FOLDER / f"{version}.txt").write_text("\n".join(sorted(found)) + "\n")
