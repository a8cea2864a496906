"""Reads the config of a run, with changes; the model file is imported before the config is judged."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fxbin.config import Config, ConfigSource, check_config
from fxbin.config.changes import LEFT_OUT, Change, with_changes
from fxbin.config.load import content_of, folder_of, validated
from fxbin.errors import ConfigError, FxbinError
from fxbin.train.located import is_elsewhere, named_path
from fxbin.train.python_file import load_callable


def read_settings(
    source: ConfigSource,
    changes: Sequence[Change] = (),
    also: Sequence[Path] = (),
    folder: Path | None = None,
) -> Config:
    """The config in `source`, as `load_config` reads it, with `changes`.

    If its model is in a Python file, that is imported first, so that the binarizers, estimators and other
    parts that it registers are known. It is looked for in the folder of the config, here, and in `also`.
    Paths in `changes` are relative to the current folder, and those in a mapping to `folder`.

    Raises ConfigError with all problems.
    """
    if isinstance(source, Config) and not changes:
        return source
    data, file, own_folder = _content(source)
    folder = own_folder or folder
    if not isinstance(data, Mapping):
        return validated(data, file, folder)
    data = with_changes(data, [_from_here(change, folder) for change in changes])
    problem = _import_model(data, [*([folder] if folder else []), Path.cwd(), *also])
    try:
        shown = [str(change) for change in changes if change.value is not LEFT_OUT]
        where = f"{file or 'config'} with {' '.join(shown)}" if shown else file
        config = validated(data, where, folder)
    except ConfigError as error:
        if problem is not None:
            error.add_note(str(problem))
        raise
    if problem is not None:
        raise problem
    return config


def problems_in(source: ConfigSource, changes: Sequence[Change] = ()) -> list[str]:
    """All problems of the config that `read_settings` would read, one text each."""
    try:
        data, _, folder = _content(source)
        if isinstance(data, Mapping):
            data = with_changes(data, [_from_here(change, folder) for change in changes])
    except ConfigError as error:
        return [str(error)]
    problem = None
    if isinstance(data, Mapping):
        problem = _import_model(data, [*([folder] if folder else []), Path.cwd()])
    return [*([str(problem)] if problem else []), *map(str, check_config(data))]


def _content(source: ConfigSource) -> tuple[Any, str | None, Path | None]:
    """What `source` holds, the name of its file for messages, and the folder of that."""
    if isinstance(source, Config):
        return source.to_dict(), None, source.folder
    if isinstance(source, str | Path):
        return content_of(source), str(source), folder_of(source)
    return source, None, None


def _from_here(change: Change, folder: Path | None) -> Change:
    """`change`, whose path, if it is one, is relative to `folder` instead of the current folder.

    What is there and not here is left as it is: it is a path as the config itself has them. So is a file of
    Python that is nowhere, which `located` tells.
    """
    path = named_path(change.key, change.value)
    if path is None or folder is None:
        return change
    is_name = path.before == "hf:" or bool(path.after) or (change.key == "data_held_out" and not path.before)
    if not path.exists_in(Path.cwd()) and (is_name or path.exists_in(folder)):
        return change
    parts = (p if is_elsewhere(p) else os.path.relpath(p, folder) for p in path.path.split("::"))
    return Change(change.key, f"{path.before}{'::'.join(parts)}{path.after}", change.option)


def _import_model(data: Mapping[str, Any], folders: Sequence[Path]) -> FxbinError | None:
    """Import the Python file of the model that the content `data` of a config names, from one of `folders`.

    Return what is wrong with it. A file that is missing is left to whoever needs the model.
    """
    model = data.get("model")
    if not isinstance(model, str) or not (path := _python_file(model, folders)):
        return None
    try:
        load_callable(path, model.rpartition(":")[2], model)
    except FxbinError as error:
        return error
    return None


def _python_file(model: str, folders: Sequence[Path]) -> Path | None:
    """The Python file that `model` names; None if it names none, or one that is in none of `folders`."""
    file, _, _ = model.rpartition(":")
    places = [folder / Path(file).expanduser() for folder in folders]
    return next((place for place in places if place.is_file()), None) if file.endswith(".py") else None
