"""WebDataset shards: tar files whose neighbouring members with one name but for the suffix are a sample."""

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any, Self

from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data.decode import SUFFIXES
from fxbin.train.data.shard_cache import forget

LABELS = ("cls", "label", "json")
"""Suffixes of the member that holds the label: a number, a name, or a JSON object with one of these keys."""

ENDED = (0, None, 141, -13)
"""Exit statuses that are no error of a command: it ends by a broken pipe if it is not read to the end."""

PICTURES = tuple(suffix[1:] for suffix in SUFFIXES)
"""Suffixes of the member that holds the picture."""


@dataclass(frozen=True)
class Sample:
    """A sample of a shard, undecoded."""

    where: str
    """Its shard and its name, for messages."""

    picture: bytes
    label: str


def expand(key: str, pattern: str) -> list[str]:
    """The shards that `pattern`, the value of the config key `key`, names, in their order.

    It may have braces, as in ``train-{000..146}.tar``, and, for files, ``*``; a list separated by ``::``.
    Raises DataError if webdataset is not installed, if no file matches, or if one is missing.
    """
    try:
        import webdataset  # noqa: F401
        from braceexpand import braceexpand
    except ImportError as error:
        raise DataError(
            f"{key}: {pattern!r} needs the package webdataset: `pip install 'fxbin[webdataset]'`."
        ) from error
    found: list[str] = []
    for part in pattern.split("::"):
        for name in braceexpand(part):
            matches = sorted(glob(name)) if is_file(name) and "*" in name else [name]  # noqa: PTH207  (also from the root)
            found += matches or [name]
    missing = [name for name in found if is_file(name) and not path_of(name).is_file()]
    if missing or not found:
        raise DataError(
            f"{key}: {len(missing)} of {len(found)} shards do not exist: {listed(missing)} (looked from "
            f"{Path.cwd()}). Put them there, or correct the pattern."
        )
    return found


def is_file(url: str) -> bool:
    """Whether a shard is a local file, rather than a URL or a command whose output it is."""
    return url.startswith("file:") or not (url.startswith("pipe:") or "://" in url)


def path_of(url: str) -> Path:
    """The path of a local shard."""
    return Path(url.removeprefix("file://").removeprefix("file:")).expanduser()


def where_is(url: str) -> str:
    """The same shard by a name that does not depend on the current folder."""
    return str(path_of(url).resolve()) if is_file(url) else url


@contextmanager
def opened(url: str) -> Iterator["Shard"]:
    """The shard at `url`: a local tar file, or anything that `webdataset.gopen` opens.

    Raises DataError if it cannot be opened; what is raised while it is read becomes a DataError, too.
    """
    try:
        with ExitStack() as stack:
            yield _open(url, stack)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        repair = "Copy or write it again" if is_file(url) else "Look at what it is read from"
        raise DataError(
            f"data: the shard {url} cannot be read: {reason}. {repair}, or leave it out of the pattern."
        ) from error


def _open(url: str, stack: ExitStack) -> "Shard":
    enter = stack.enter_context
    if is_file(url):
        try:
            # Pictures that are not needed are skipped, as the file is not compressed.
            return Shard(enter(tarfile.open(path_of(url), "r:", tarinfo=Header)), in_order=False)
        except tarfile.ReadError:
            return Shard(enter(tarfile.open(path_of(url), "r|*", tarinfo=Header)), in_order=True)
    stream = enter(stream_of(url))
    return Shard(enter(tarfile.open(fileobj=stream, mode="r|*", tarinfo=Header)), in_order=True)


@contextmanager
def stream_of(url: str) -> Iterator[Any]:
    """What `webdataset.gopen` opens, mostly the output of a command.

    What is raised while it is read becomes an OSError if the command has failed, which is the reason then.
    An archive that is read to its end is whole, and one that is left earlier may end the command with an
    error, so neither is an error here.
    """
    from webdataset.gopen import gopen, set_options

    stream = gopen(url, "rb")
    set_options(stream, ignore_errors=True)  # what it raises would list the arguments of Popen
    try:
        yield stream
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        stream.close()
        status = getattr(stream, "status", None)
        if status in ENDED:
            raise
        raise OSError(f"its command ended with the exit status {status} ({error})") from error
    finally:
        with suppress(OSError):
            stream.close()


class Header(tarfile.TarInfo):
    """The header of a member. An archive ends with blocks of zeros; all else in its place is an error.

    tarfile itself takes it for the end, as does an archive that was cut off between two members.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header in the block `buf`; raises ReadError if it is none, or not whole."""
        if len(buf) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data: the archive lacks the blocks that end one")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(f"{error}: the archive is damaged") from error
            raise


@dataclass(frozen=True)
class Shard:
    """An open tar file."""

    tar: tarfile.TarFile
    in_order: bool
    """Whether members can only be read in their order, as of a stream."""

    def groups(self) -> Iterator[tuple[str, "Members"]]:
        """Yield the name of each sample, and its members by suffix, which can be read until the next one."""
        name, members = None, Members({})
        while (member := self.tar.next()) is not None:
            self.tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            own, suffix = split_name(member.name)
            if not member.isfile() or not suffix:
                continue
            if own != name:
                if name is not None:
                    yield name, members
                name, members = own, Members({})
            if suffix in members:
                raise tarfile.ReadError(
                    f"the sample {name!r} has two members .{suffix}: samples that follow each other need "
                    "different names"
                )
            members.by_suffix[suffix] = self._read(member) if self.in_order else partial(self._read, member)
        if name is not None:
            yield name, members

    def _read(self, member: tarfile.TarInfo) -> bytes:
        file = self.tar.extractfile(member)
        content = file.read() if file is not None else b""
        if len(content) != member.size:
            raise tarfile.ReadError("unexpected end of data")
        return content


@dataclass(frozen=True)
class Members:
    """The members of a sample by suffix: what they contain, or how to read it."""

    by_suffix: dict[str, bytes | Callable[[], bytes]]

    def __contains__(self, suffix: str) -> bool:
        return suffix in self.by_suffix

    def read(self, suffix: str) -> bytes:
        """The content of a member."""
        found = self.by_suffix[suffix]
        return found if isinstance(found, bytes) else found()


def split_name(path: str) -> tuple[str, str]:
    """The name of the sample that a member belongs to, and its suffix in lower case; empty if it has none.

    >>> split_name("train/n01/7.seg.PNG")
    ('train/n01/7', 'seg.png')
    """
    folder, slash, file = path.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.lower() if stem else ""


def suffix_of_picture(url: str, name: str, members: Members) -> str:
    """The suffix of the picture of a sample; raises DataError if it has none."""
    found = next((suffix for suffix in PICTURES if suffix in members), None)
    if found is None:
        raise DataError(
            f"data: the sample {name!r} of {url} has no picture, a member that ends in "
            f".{', .'.join(PICTURES)}: it has {listed(sorted(members.by_suffix))}."
        )
    return found


def label_in(url: str, name: str, members: Members) -> str:
    """The label of a sample as text, a number or a name; raises DataError if it has none."""
    for suffix in LABELS:
        if suffix not in members:
            continue
        text = members.read(suffix).decode("utf-8", "replace").strip()
        if suffix != "json":
            return str(text)
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        keys = [key for key in LABELS if isinstance(found, dict) and key in found]
        if keys:
            return _label_of(url, name, keys[0], found[keys[0]])
    raise DataError(
        f"data: the sample {name!r} of {url} has no label, a member that ends in .cls, or in .json with "
        f'"label": it has {listed(sorted(members.by_suffix))}.'
    )


def _label_of(url: str, name: str, key: str, value: Any) -> str:
    """A label in JSON as text; raises DataError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(
            f"data: the sample {name!r} of {url} has {json.dumps({key: value})} in its .json, expected a "
            f"number or a name as {key!r}."
        )
    return str(value)


def samples(
    url: str, skip: int = 0, count: int | None = None, tell_more: Callable[[int], None] | None = None
) -> Iterator[Sample]:
    """Yield `count` samples of the shard `url` after the first `skip`, or all of them, undecoded.

    If it has more, `tell_more` is called with the number of all, before the last one is given.
    Raises DataError if it cannot be read, or has fewer.
    """
    given = 0
    with opened(url) as shard:
        groups = shard.groups()
        for position, (name, members) in enumerate(groups):
            if position < skip:
                continue
            picture = members.read(suffix_of_picture(url, name, members))
            sample = Sample(f"{name!r} of {url}", picture, label_in(url, name, members))
            given += 1
            if given == count and tell_more is not None and (more := sum(1 for _ in groups)):
                forget(where_is(url))
                tell_more(skip + given + more)
            yield sample
            if given == count:
                return
    if count is not None and given < count:
        forget(where_is(url))
        raise DataError(
            f"data: the shard {url} has {skip + given} samples, fewer than when they were counted. Was it "
            "replaced? Start again, so that they are counted anew."
        )
