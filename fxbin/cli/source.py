"""Turns the arguments CONFIG, MODEL and --input of the command line into a config."""

from fxbin.config import Config, load_config
from fxbin.errors import ConfigError


def is_config(source: str) -> bool:
    """Whether `source` names a config file rather than a model or a checkpoint."""
    return source.endswith((".json", ".json5"))


def with_overrides(config: Config, **overrides: object) -> Config:
    """`config` with top-level keys replaced by `overrides` that are not None."""
    given = {
        key: value if isinstance(value, bool) else str(value)
        for key, value in overrides.items()
        if value is not None
    }
    return load_config(config.to_dict() | given) if given else config


def config_for(source: str, input_size: str | None, config: str | None = None) -> Config:
    """The config in the file `source`; for a model's name, the config in `config`, by default a minimal one.

    Raises ConfigError if the arguments do not fit together.
    """
    if is_config(source) or config is not None:
        if input_size is not None:
            raise ConfigError(
                f"--input: {input_size!r}: a config has its own input_info, leave the option out."
            )
        if config is None:
            return load_config(source)
        if is_config(source):
            raise ConfigError(f"--config: {config!r}: {source} is a config itself, leave the option out.")
        return with_overrides(load_config(config), model=source)
    size = [1, 1, 28, 28] if input_size is None and "_thin" in source else shape_of(input_size)
    return load_config(
        {"model": source, "input_info": {"sample_size": size}, "compression": {"algorithm": "binarization"}}
    )


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
    return load_config(plain)
