"""How many samples each shard has, and of which classes: counted once, and kept in a cache."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from torch import distributed

from fxbin.binarizers.ranks import rank_count
from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.shards import is_file, label_in, opened, path_of, suffix_of_picture
from fxbin.train.processes import own_rank

THREADS = 8


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


def count_shards(urls: Sequence[str]) -> list[Counted]:
    """What is known of the shards `urls`; those that are new or changed are counted, shared by all processes.

    Raises DataError if one cannot be read, has no samples, or has one without picture or label.
    """
    cache = cache_path(urls)
    known = read_cache(cache)
    wanted = [url for url in urls if url not in known or known[url].stamp != stamp_of(url)]
    ranks = rank_count()
    mine = wanted[own_rank() if ranks > 1 else 0 :: ranks]
    problem = ""
    counted: dict[str, Counted] = {}
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            counted = dict(zip(mine, threads.map(count, mine), strict=True))
    except DataError as error:
        problem = str(error)
    for of_rank, problem_of_rank in gathered((counted, problem)):
        if problem_of_rank:
            raise DataError(problem_of_rank)
        known |= of_rank
    if wanted and own_rank() == 0:
        write_cache(cache, {url: known[url] for url in urls})
    return [known[url] for url in urls]


def gathered(own: Any) -> list[Any]:
    """`own` of all processes, in the order of their ranks."""
    every = [own] * rank_count()
    if rank_count() > 1:
        distributed.all_gather_object(every, own)
    return every


def count(url: str) -> Counted:
    """Read the shard `url` once; of a local file that is not compressed, all but the pictures."""
    stamp, number, largest = stamp_of(url), 0, -1
    names: set[str] = set()
    with opened(url) as shard:
        for name, members in shard.groups():
            suffix_of_picture(url, name, members)
            label = label_in(url, name, members)
            number += 1
            if label.isdigit():
                largest = max(largest, int(label))
            else:
                names.add(label)
    if not number:
        raise DataError(f"data: the shard {url} has no samples.")
    if names and largest >= 0:
        raise DataError(
            f"data: the shard {url} has labels that are numbers, and others: {listed(sorted(names))}."
        )
    return Counted(number, largest, tuple(sorted(names)), stamp)


def stamp_of(url: str) -> str:
    """Size and time of change of a local shard; empty for others."""
    if not is_file(url):
        return ""
    found = path_of(url).stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def cache_path(urls: Sequence[str]) -> Path:
    """The file in the user's cache folder for these shards."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fxbin" / "shards"
    where = [str(path_of(url).resolve()) if is_file(url) else url for url in urls]
    return folder / f"{blake2b(json.dumps(where).encode(), digest_size=16).hexdigest()}.json"


def read_cache(path: Path) -> dict[str, Counted]:
    """What the cache file holds; nothing if it is not there or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {url: Counted(**{**value, "names": tuple(value["names"])}) for url, value in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_cache(path: Path, counted: dict[str, Counted]) -> None:
    """Write the cache file, if its folder can be written: without it, shards are counted again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({url: asdict(value) for url, value in counted.items()}))
        temporary.replace(path)
    except OSError:
        return


def class_names_of(training: Sequence[Counted], held_out: Sequence[Counted]) -> tuple[str, ...]:
    """The names of the classes; numbers if labels are numbers.

    Raises DataError if held-out samples are of classes that no training sample is of.
    """
    names = sorted({name for shard in training for name in shard.names})
    largest = max(shard.largest for shard in training)
    if names and largest >= 0:
        raise DataError(f"data: some shards have numbers as labels, others names such as {names[0]!r}.")
    known = names or [str(label) for label in range(largest + 1)]
    evaluated = {name for shard in held_out for name in shard.names}
    evaluated |= {str(shard.largest) for shard in held_out if shard.largest >= 0}
    others = sorted(evaluated - set(known))
    if others:
        raise DataError(
            f"data_held_out: there are samples of the classes {listed(others)}, and none of them in data."
        )
    return tuple(known)
