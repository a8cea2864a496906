"""The tables of docs/config.md, from the models that read configs (`python -m fxbin.config tables`)."""

import json
from typing import Any

from fxbin.config.data import DataKeys
from fxbin.config.optimization import OptimizationKeys
from fxbin.config.schema import config_json_schema
from fxbin.config.training import TrainingKeys
from fxbin.config.unused import UnusedKeys

BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "maximum": "<="}
TYPES = {"string": "text", "boolean": "true or false", "integer": "whole number", "array": "list"}


def config_tables() -> dict[str, str]:
    """A Markdown table of keys for each section of a config, by the section's title in docs/config.md."""
    schema = config_json_schema()
    sections: dict[str, Any] = schema["$defs"]
    top = {key: value for key, value in schema["properties"].items() if key not in UnusedKeys.model_fields}
    training = {key: value for key, value in top.items() if key in TrainingKeys.model_fields}
    steps = {key: value for key, value in top.items() if key in OptimizationKeys.model_fields}
    data = {key: value for key, value in top.items() if key in DataKeys.model_fields}
    general = {key: value for key, value in top.items() if key not in training | steps | data}
    unused = {key: schema["properties"][key] for key in UnusedKeys.model_fields}
    return {
        "Top level": _table(general),
        "compression": _table(sections["Binarization"]["properties"]),
        "compression.params": _table(sections["Params"]["properties"]),
        "compression.activations": _table(sections["Activations"]["properties"]),
        "compression.weights": _table(sections["Weights"]["properties"]),
        "input_info": _table(sections["InputInfo"]["properties"]),
        "Training": _table(training),
        "Steps and epochs": _table(steps),
        "gradient_clip": _table(sections["GradientClip"]["properties"]),
        "early_stop": _table(sections["EarlyStop"]["properties"]),
        "pretrain": _table(sections["Pretrain"]["properties"]),
        "ema": _table(sections["Ema"]["properties"]),
        "distillation": _table(sections["Distillation"]["properties"]),
        "distillation.teacher": _table(sections["Teacher"]["properties"]),
        "Data": _table(data),
        "pictures": _table(sections["Pictures"]["properties"]),
        "augmentation": _table(sections["Augmentation"]["properties"]),
        "Accepted, without effect": "\n".join(
            ["| key | what it was |", "| --- | --- |"]
            + [f"| `{key}` | {value['description']} |" for key, value in unused.items()]
        ),
    }


def _table(properties: dict[str, dict[str, Any]]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in properties.items():
        default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
        rows.append(f"| `{key}` | {_kind(value)} | {default} | {value['description']} |")
    return "\n".join(rows)


def _kind(value: dict[str, Any]) -> str:
    """The values a key can have, in words."""
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in value["enum"])
    if "anyOf" in value:
        one = _kind(value["anyOf"][0])
        if value["anyOf"][1].get("type") == "object":
            return f"{one}, or an object with `name` and options"
        return f"{one}, or a list of them"
    if "items" in value:
        return f"list, each item a {_kind(value['items'])}"
    if "type" not in value or value["type"] == "object":
        return "object"
    bounds = [f" {sign} {value[bound]:g}" for bound, sign in BOUNDS.items() if bound in value]
    return TYPES.get(value["type"], str(value["type"])) + ",".join(bounds)
