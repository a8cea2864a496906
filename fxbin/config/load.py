"""Read a config from a file, a mapping or a `Config`; one `ConfigError` lists everything wrong with it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import json5
from pydantic import ValidationError

from fxbin import torch_private
from fxbin.config.models import Config
from fxbin.config.problems import Problem, problems_of
from fxbin.errors import ConfigError
from fxbin.errors.messages import closest

SUFFIXES = (".json5", ".json")

ConfigSource = Config | Mapping[str, Any] | str | Path
"""A config, its content as a mapping, or the path of a JSON5 file."""


def load_config(source: ConfigSource) -> Config:
    """Read and check the config in `source`.

    `source` is the path of a JSON5 file (JSON with comments, trailing commas and unquoted keys), a
    mapping with the same content, or a `Config`, which is returned as it is. Nothing in a file is executed.

    Raises ConfigError with all problems at once, one per line: key path, value, what was expected, what to
    do. A file that is missing, is not JSON5, or has a key twice, counts as one problem.

    >>> load_config({"compression": {"algorithm": "binarization", "mode": "dorefa"}}).binarization.mode
    'dorefa'
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return validated(source)
    if isinstance(source, str | Path):
        return validated(content_of(source), str(source), folder_of(source))
    raise ConfigError(f"config: got {type(source).__name__}, expected a path, a dict or a fxbin.Config.")


def check_config(source: object) -> list[Problem]:
    """All problems of a config, in no particular order; an empty list if there are none.

    `source` is the path of a file, or the content of one.
    """
    if isinstance(source, Config):
        return []
    try:
        data = content_of(source) if isinstance(source, str | Path) else source
        Config.model_validate(data)
    except ConfigError as error:
        return [Problem("", str(error))]
    except ValidationError as error:
        return problems_of(error, data)
    return []


def content_of(source: str | Path) -> object:
    """What the JSON5 file `source` holds, not checked.

    Raises ConfigError if it is missing, is not JSON5, or has a key twice.
    """
    return _parsed(_text_of(source), str(source))


def folder_of(source: str | Path) -> Path:
    """The folder of the config file `source`, absolute: paths in it are relative to that."""
    return Path(source).expanduser().absolute().parent


def validated(data: object, file: str | None = None, folder: Path | None = None) -> Config:
    """The config with the content `data`, which comes from `file`, with paths relative to `folder`.

    Raises ConfigError as `load_config` does; its message begins with `file`.
    """
    where = "config: " if file is None else f"{file}: "
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"{where}got a {type(data).__name__}, expected an object with a key "
            '"compression": put the settings between { and }.'
        )
    try:
        return Config.model_validate(data).with_folder(folder)
    except ValidationError as error:
        problems = problems_of(error, data)
        if len(problems) == 1:
            message = f"{where}{problems[0]}"
        else:
            lines = "".join(f"\n  {problem}" for problem in problems)
            message = f"{where}{len(problems)} problems{lines}"
        # pydantic's own report says the same in other words: it would only repeat the message.
        raise ConfigError(message) from None


def _text_of(source: str | Path) -> str:
    path = Path(source).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file. {_nearby(path)}") from None
    except IsADirectoryError:
        raise ConfigError(
            f"{source}: is a folder, expected a file. {_nearby(path / 'config.json5')}"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source}: is not UTF-8 text (byte {error.start}), expected a JSON5 file: save it as UTF-8."
        ) from error
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}.") from error


def _nearby(path: Path) -> str:
    """A sentence that names configs beside `path`: those with a similar name, or else the first five."""
    folder = path.parent
    if not folder.is_dir():
        # The name that the documentation and --help use: a package does not hold it.
        where = " Examples are in configs/ of fxbin's repository." if folder.name == "configs" else ""
        return f"The folder {folder} does not exist either; the current one is {Path.cwd()}.{where}"
    configs = sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)
    close = closest(path.name, configs) or configs[:5]
    return f"Configs in {folder}: {', '.join(close)}." if close else f"There is no config in {folder}."


def _parsed(text: str, file: str) -> object:
    try:
        return json5.loads(text, object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        places = [
            str(number) for number, line in enumerate(text.splitlines(), 1) if _has_key(line, error.key)
        ]
        raise ConfigError(
            f"{file}: the key {error.key!r} appears twice in one object, see lines {', '.join(places)}: "
            "remove one."
        ) from None
    except RecursionError:
        raise ConfigError(f"{file}: is nested too deeply for a config.") from None
    except ValueError as error:
        raise ConfigError(_syntax_error(str(error), text, file)) from None


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _DuplicateKeyError(key)
        content[key] = value
    return content


def _has_key(line: str, key: str) -> bool:
    return re.search(rf"""(?<![\w"']){re.escape(key)}\s*:|["']{re.escape(key)}["']\s*:""", line) is not None


def _syntax_error(message: str, text: str, file: str) -> str:
    """The parser's message, with the line in question and a caret under the position.

    json5's own messages look like ``<string>:3 Unexpected "}" at column 7``.
    """
    found = re.fullmatch(torch_private.JSON5_PLACE, message, re.DOTALL)
    if not text.strip():
        return f'{file}: is empty. Write at least {{"compression": {{"algorithm": "binarization"}}}}.'
    if found is None:
        return f"{file}: is not JSON5: {message}."
    line, column = int(found[1]), int(found[3])
    what = found[2].replace("\n", "\\n")
    source = (text.splitlines() or [""])[line - 1]
    # Tabs stay tabs, so that the caret is at the right place for any tab width.
    margin = re.sub(r"[^\t]", " ", source[: column - 1])
    return (
        f"{file}, line {line}, column {column}: {what}, expected JSON5"
        f"{_syntax_hint(source, column)}\n    {source}\n    {margin}^"
    )


def _syntax_hint(source: str, column: int) -> str:
    """A guess, as the end of a sentence, at what is wrong at the 1-based `column` of the line `source`."""
    if source[column - 1 : column] in {'"', "'"} or source[column - 1 : column].isalpha():
        return ". Is a comma missing before it?"
    if source[column - 1 : column] == "#":
        return ". Comments begin with //."
    return "."
