"""The config key `loggers`: names of services that metrics go to, with their options."""

import copy
import json
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fxbin.config.value_types import problem
from fxbin.errors.messages import did_you_mean

LoggerValue = str | dict[str, JsonValue]
"""``"mlflow"``, or ``{"name": "wandb", "project": "binary"}``."""

OPTIONS = {
    "tensorboard": (),
    "wandb": ("project", "entity", "group", "job_type", "tags", "notes", "mode", "run"),
    "mlflow": ("tracking_uri", "experiment", "run"),
}
"""The loggers, each with its options."""


def logger_name(value: LoggerValue) -> str:
    """The name in a valid `value`."""
    return value if isinstance(value, str) else str(value["name"])


def logger_options(value: LoggerValue) -> dict[str, Any]:
    """The options in a valid `value`."""
    return {} if isinstance(value, str) else {key: option for key, option in value.items() if key != "name"}


class LoggerKey:
    """Marks a key that takes a logger, which is checked against `OPTIONS`."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_check)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        name = {"type": "string", "enum": list(OPTIONS)}
        options = {"type": "object", "properties": {"name": name}, "required": ["name"]}
        return {"anyOf": [name, options]}


def _check(value: Any) -> Any:
    """Return `value` if it names a logger and options that it has; raise a problem otherwise."""
    name = value.get("name") if isinstance(value, dict) else value
    at = ("name",) if isinstance(value, dict) and "name" in value else ()
    if name not in OPTIONS:
        known = ", ".join(OPTIONS)
        raise problem(f"one of {known}, or an object with such a name", _meant(name, tuple(OPTIONS)), at)
    for key in logger_options(value):
        if key not in OPTIONS[name]:
            known = ", ".join(OPTIONS[name]) or "none"
            raise problem(f"an option of {name}: {known}", _meant(key, OPTIONS[name]), (key,))
    return copy.deepcopy(value)


def _meant(word: object, known: tuple[str, ...]) -> str:
    return did_you_mean(str(word), known, spelled=json.dumps)
