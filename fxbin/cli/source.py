"""Turns the arguments CONFIG, MODEL, --input and --set of the command line into a config."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from fxbin.config import Config, load_config
from fxbin.config.changes import Change, parse_change
from fxbin.config.input_info import InputInfo
from fxbin.errors import ConfigError


def is_config(source: str) -> bool:
    """Whether `source` names a config file rather than a model or a checkpoint."""
    return source.endswith((".json", ".json5"))


def changes_of(settings: Sequence[str] = (), **options: object) -> list[Change]:
    """The changes to a config that `--set` asks for, after those of `options` that are not None.

    An option is named by the top-level key that it sets, as `data_dir` for ``--data-dir``.
    """
    given = {key: value for key, value in options.items() if value is not None}
    own = [
        Change(key, str(value) if isinstance(value, Path) else value, f"--{key.replace('_', '-')}")
        for key, value in given.items()
    ]
    return [*own, *map(parse_change, settings)]


def config_for(
    source: str,
    input_size: str | None,
    config: str | None = None,
    settings: Sequence[str] = (),
    changes: Sequence[Change] = (),
) -> Config:
    """The config in the file `source`; for a model's name, the config in `config`, by default a minimal one.

    Its paths are absolute. `settings` are the values of `--set`, `changes` those of other options.
    Raises ConfigError if the arguments do not fit together.
    """
    from fxbin.train.located import located

    found = located(_config_for(source, input_size, config, [*changes, *changes_of(settings)]))
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.config


def _config_for(source: str, input_size: str | None, config: str | None, changes: Sequence[Change]) -> Config:
    from fxbin.train.settings import read_settings

    if is_config(source) or config is not None:
        if config is None:
            return _with_input(read_settings(source, changes), input_size)
        if is_config(source):
            raise ConfigError(f"--config: {config!r}: {source} is a config itself, leave the option out.")
        return _with_input(read_settings(config, [Change("model", source, "MODEL"), *changes]), input_size)
    size = [1, 1, 28, 28] if input_size is None and "_thin" in source else shape_of(input_size)
    minimal = {
        "model": source,
        "input_info": {"sample_size": size},
        "compression": {"algorithm": "binarization"},
    }
    return read_settings(minimal, changes)


def _with_input(config: Config, input_size: str | None) -> Config:
    """`config`, whose input has the shape of `--input`; it must not have one itself."""
    if input_size is None:
        return config
    if config.input_info:
        raise ConfigError(
            f"--input: {input_size!r}: the config has its own input_info, leave the option out."
        )
    return config.model_copy(update={"input_info": (InputInfo(sample_size=tuple(shape_of(input_size))),)})


def output_folder(config: Path, output: Path | None) -> Path:
    """The output folder of a run: that of `--output`, by default ``runs/`` and the name of the config."""
    return output or Path("runs") / config.stem


def shape_of(text: str | None) -> list[int]:
    """``"1,3,224,224"`` or ``"1x3x224x224"`` as a list of numbers; (1, 3, 224, 224) if `text` is None.

    >>> shape_of("1x1x28x28")
    [1, 1, 28, 28]
    """
    parts = (text or "1,3,224,224").replace("x", ",").split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--input: {text!r} is not a shape, expected positive numbers as in 1,3,224,224.")
    return [int(part) for part in parts]


def without_scope_check(config: Config) -> Config:
    """`config` with `validate_scopes` set to false."""
    plain = config.to_dict()
    for algorithm in plain["compression"]:
        algorithm["validate_scopes"] = False
    return load_config(plain).with_folder(config.folder)
