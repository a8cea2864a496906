"""Makes the loggers that a config names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from fxbin.config import Config
from fxbin.config.logger import logger_name, logger_options
from fxbin.errors import ConfigError
from fxbin.train.loggers.logger import Logger, LoggerRun
from fxbin.train.loggers.mlflow import MLflowLog
from fxbin.train.loggers.tensorboard import TensorBoardLog
from fxbin.train.loggers.wandb import WandbLog

PACKAGES = {
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow.tracking",
}
"""The module that each logger needs."""

CLASSES: dict[str, Callable[[LoggerRun, dict[str, Any]], Logger]] = {
    "tensorboard": lambda run, _options: TensorBoardLog.of_run(run),
    "wandb": WandbLog,
    "mlflow": MLflowLog,
}


def loggers_of(config: Config) -> dict[str, dict[str, Any]]:
    """The options of the loggers that `config` names, by name; the key `tensorboard` names one as well."""
    chosen = {logger_name(value): logger_options(value) for value in config.loggers}
    return chosen | {"tensorboard": {}} if config.tensorboard else chosen


def check_loggers(config: Config) -> None:
    """Raise ConfigError if the package of a logger that `config` names is not installed."""
    for name in loggers_of(config):
        try:
            import_module(PACKAGES[name])
        except ImportError as error:
            raise ConfigError(
                f"{'tensorboard' if name == 'tensorboard' else f'loggers: {name}'}: it is not installed: "
                f"`pip install 'fxbin[{name}]'`"
            ) from error


@contextmanager
def open_loggers(config: Config, run: LoggerRun, found: list[Logger]) -> Iterator[list[Logger]]:
    """Add the loggers of `config` to `found`, and close them all when the block ends, however it ends."""
    finished = False
    try:
        for name, options in loggers_of(config).items():
            found.append(CLASSES[name](run, options))
        yield found
        finished = True
    finally:
        for logger in found:
            logger.close(finished=finished)
