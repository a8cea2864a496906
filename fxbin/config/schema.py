"""The config as a JSON Schema, for editors: `python -m fxbin.config schema` prints it."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fxbin.config.models import Config


class _Generator(GenerateJsonSchema):
    """Describes what `load_config` accepts: null is left out, and so are titles that repeat the key."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        # The default of a section consists of its keys' defaults, which are given at the keys.
        content = super().default_schema(schema)
        if content.get("default") is None or isinstance(content["default"], dict | list):
            content.pop("default", None)
        return content

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (pydantic's signature)
        return False


def config_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a config file, generated from the models that read it."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fxbin config"}


def config_json_schema_text() -> str:
    """`config_json_schema` as the text of `configs/schema.json`."""
    return json.dumps(config_json_schema(), indent=2, ensure_ascii=False) + "\n"
