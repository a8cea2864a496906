"""How many samples each shard has, and of which classes: counted once, and kept in a cache."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import distributed

from fxbin.binarizers.ranks import rank_count
from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.shard_cache import Counted, cached, keep
from fxbin.train.data.shards import is_file, label_in, opened, path_of, suffix_of_picture, where_is
from fxbin.train.processes import own_rank

THREADS = 8


def count_shards(urls: Sequence[str]) -> list[Counted]:
    """What is known of the shards `urls`; those that are new or changed are counted, shared by all processes.

    Raises DataError if one cannot be read, has no samples, or has one without picture or label.
    """
    kept = {url: cached(where_is(url)) for url in urls}
    known = {url: found for url, found in kept.items() if found is not None and found.stamp == stamp_of(url)}
    wanted = [url for url in dict.fromkeys(urls) if url not in known]
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
    if own_rank() == 0:
        for url in wanted:
            keep(where_is(url), known[url])
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
            f"data_held_out: there are samples of the classes {listed(others)}, and none of them in data. "
            "Add some to train on, or leave these out."
        )
    return tuple(known)
