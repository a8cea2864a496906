"""Prints the oldest versions that pyproject.toml allows, as a constraints file for pip.

python tests/lower_bounds.py > oldest.txt
"""

import re
import tomllib
from pathlib import Path


def lower_bounds() -> list[str]:
    """``name==version`` of each requirement, those of the extras included."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    found: dict[str, str] = {}
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        if requirement.startswith("fxbin["):
            continue
        bound = re.fullmatch(r"([\w-]+)>=([\w.]+)", requirement)
        if bound is None:
            raise ValueError(f"pyproject.toml: expected name>=version, got {requirement!r}")
        name, version = bound.groups()
        if found.setdefault(name, version) != version:
            raise ValueError(f"pyproject.toml: {name} has two lower bounds, {found[name]} and {version}")
    return [f"{name}=={version}" for name, version in found.items()]


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
