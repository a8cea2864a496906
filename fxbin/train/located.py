"""Where the files are that a config names: its paths are relative to the folder of its own file."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fxbin.config import Config
from fxbin.errors import ConfigError
from fxbin.train.python_file import split_spec

PATTERN = re.compile(r"[*?\[{]")
"""Where the fixed part of a pattern of file names ends."""

DATA_IN_FILES = ("folder:", "wds:", "hf:", "idx:")
"""What the key `data` begins with if a path may follow."""


@dataclass(frozen=True)
class NamedPath:
    """A path in the value of a config key."""

    key: str
    """The config key: ``"distillation.teacher.checkpoint"``."""

    before: str
    """The text before the path: ``"folder:"``."""

    path: str
    """The path as written."""

    after: str
    """The text behind it: ``":make_model"``."""

    def in_folder(self, folder: Path) -> str:
        """The value of the key with an absolute path in `folder`."""
        # Only shards may be several, some of which may be elsewhere.
        parts = (
            part if is_elsewhere(part) else os.path.normpath(folder / part) for part in self.path.split("::")
        )
        return f"{self.before}{'::'.join(parts)}{self.after}"

    def exists_in(self, folder: Path) -> bool:
        """Whether the file or folder is in `folder`; of a pattern, the folder of its fixed part counts."""
        fixed = PATTERN.split(self.path, maxsplit=1)[0]
        whole = self.path if fixed == self.path else Path(f"{fixed}_").parent
        # By name, as `relpath` made it: a folder on the way may be a link.
        return Path(os.path.normpath(folder / whole)).exists()


def named_path(key: str, value: object) -> NamedPath | None:
    """The relative path in the `value` of the config key `key`; None if it has none."""
    if not isinstance(value, str):
        return None
    before, path, after = "", value, ""
    if key == "data_held_out":
        before = next((prefix for prefix in DATA_IN_FILES if value.startswith(prefix)), "")
        path = value.removeprefix(before)
    elif key in ("model", "distillation.teacher.model", "data"):
        own = split_spec(value)
        prefix = next((prefix for prefix in DATA_IN_FILES if value.startswith(prefix)), None)
        if own is not None:
            path, after = str(own[0]), f":{own[1]}"
        elif key == "data" and prefix:
            before, path = prefix, value.removeprefix(prefix)
        else:
            return None
    elif key not in ("data_dir", "distillation.teacher.checkpoint", "distillation.teacher.state_dict"):
        return None
    return None if is_elsewhere(path) or not path else NamedPath(key, before, path, after)


def is_elsewhere(path: str) -> bool:
    """Whether `path` is absolute, a URL or a command."""
    return "://" in path or path.startswith(("~", "pipe:", "file:")) or Path(path).is_absolute()


def relative_paths(config: Config) -> list[NamedPath]:
    """The relative paths in `config`."""
    values = {key: getattr(config, key) for key in ("model", "data", "data_dir")}
    if config.data.startswith(("folder:", "wds:")):  # of others it is the name of a split
        values["data_held_out"] = config.data_held_out
    if (teacher := config.distillation.teacher) is not None:
        for key in ("model", "checkpoint", "state_dict"):
            values[f"distillation.teacher.{key}"] = getattr(teacher, key)
    found = (named_path(key, value) for key, value in values.items())
    return [path for path in found if path is not None]


def folder_to_keep(config: Config) -> str | None:
    """The folder to which paths in `config` are relative, for a checkpoint; None without such paths."""
    return str(config.folder or Path.cwd()) if relative_paths(config) else None


@dataclass(frozen=True)
class Located:
    """A config whose paths are absolute, and what was surprising about them."""

    config: Config
    notes: tuple[str, ...] = ()


def located(config: Config, also: Sequence[Path] = ()) -> Located:
    """`config` with absolute paths, which are looked up in the folder of its file, here, and in `also`.

    A file that is beside the config in none of them is expected there: whoever reads it says that it is
    missing. A config that comes from no file stays as it is, as its paths are relative to the current folder.

    Raises ConfigError if the file of the model, without which nothing can be done, is in none of the folders.
    """
    if config.folder is None and not also:
        return Located(config)
    folders = list(dict.fromkeys([config.folder or Path.cwd(), Path.cwd(), *also]))
    notes = []
    for path in relative_paths(config):
        folder = next((folder for folder in folders if path.exists_in(folder)), None)
        if folder is None and path.key == "model":
            raise ConfigError(
                f"model: {path.path + path.after!r}: the file {path.path} does not exist: looked in "
                f"{', '.join(map(str, folders))}. Paths in a config are relative to its file."
            )
        if folder is None and path.before == "hf:":
            continue  # a name, and no folder
        if folder not in (None, folders[0]):
            notes.append(
                f"{path.key}: {path.path} is not in {folders[0]}, the folder of the config, but in {folder}, "
                "and taken from there: paths in a config are relative to its file"
            )
        config = _with(config, path.key, path.in_folder(folder or folders[0]))
    return Located(config, tuple(notes))


def _with(config: Config, key: str, value: str) -> Config:
    """`config` with another value of a path."""
    name = key.rpartition(".")[2]
    if name == key:
        return config.model_copy(update={name: value})
    distillation = config.distillation
    assert distillation.teacher is not None
    teacher = distillation.teacher.model_copy(update={name: value})
    return config.model_copy(update={"distillation": distillation.model_copy(update={"teacher": teacher})})
