"""Keeps what was counted of each shard in the user's cache folder, a file a shard."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from fxbin.atomic_write import replace_file
from fxbin.engine.build import chosen_folder

FORMAT = 2
"""Changed when shards are counted in another way, so that older counts are not used."""


@dataclass(frozen=True)
class Counted:
    """What is known of a shard."""

    samples: int
    largest: int
    """Its largest label; -1 if labels are names."""

    names: tuple[str, ...]
    """The different labels, if they are names."""

    stamp: str
    """Size and time of change of a local file; empty for others, which are taken to stay the same."""


def cached(where: str) -> Counted | None:
    """What was counted of the shard at `where`, an absolute path or a URL; None if nothing is kept."""
    path = _path(where)
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Counted(**{**content, "names": tuple(content["names"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(where: str, counted: Counted) -> None:
    """Keep what was `counted`, if the folder can be written: without it, the shard is counted again."""
    path = _path(where)
    if path is None:
        return
    with suppress(OSError):
        replace_file(path, json.dumps(asdict(counted)))


def forget(where: str) -> None:
    """Forget what was counted, as it is wrong: the shard is counted again the next time."""
    path = _path(where)
    if path is not None:
        path.unlink(missing_ok=True)


def _path(where: str) -> Path | None:
    folder = chosen_folder()
    name = blake2b(f"{FORMAT} {where}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return None if folder is None else folder / "shards" / f"{name}.json"
