"""Print the notes of a release: its section of CHANGELOG.md, as pages of releases want it.

    python tools/release_notes.py          # the version in pyproject.toml, or what is unreleased
    python tools/release_notes.py 0.1.0

Lines are joined, because such pages break them where the text does, and links to files become text.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNRELEASED = "Unreleased"


def sections(changelog: str) -> dict[str, str]:
    """The text of each section by its version; a heading is ``## 0.1.0`` or ``## 0.1.0 - 2026-12-01``."""
    parts = re.split(r"^## (\S+).*$", changelog, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def notes(section: str) -> str:
    """`section` with one line for each item and paragraph, without links to files."""
    joined = re.sub(r"\n +(?=[^\s-])", " ", section)
    joined = re.sub(r"(?<=[^\n])\n(?=[^\n#\-])", " ", joined)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", joined)


def main(versions: list[str]) -> None:
    """Print the notes of one version."""
    found = sections((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    current = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    version = versions[0] if versions else current if current in found else UNRELEASED
    if version not in found:
        raise SystemExit(f"version: got {version!r}, expected one of CHANGELOG.md: {', '.join(found)}")
    print(notes(found[version]))


if __name__ == "__main__":
    main(sys.argv[1:])
