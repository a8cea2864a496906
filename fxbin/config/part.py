"""Config keys whose value is a part of a binarizer: its name, or an object with its name and options."""

from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fxbin.binarizers.parts import PartError, PartRegistry
from fxbin.config.value_types import problem

Part = str | dict[str, JsonValue]


@dataclass(frozen=True)
class PartOf:
    """Marks a key that takes a part from `registry`, which checks names and options."""

    registry: PartRegistry[Any]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        name = {"type": "string", "examples": list(self.registry.names)}
        options = {"type": "object", "properties": {"name": name}, "required": ["name"]}
        return {"anyOf": [name, options]}

    def _check(self, value: Any) -> Any:
        if not (isinstance(value, dict) or (isinstance(value, str) and value)):
            raise problem(f"{self.registry.one_of}, or an object with such a name and options")
        try:
            self.registry.make(value)
        except PartError as error:
            raise problem(error.expected, error.hint, (error.key,) if error.key else ()) from error
        return value
