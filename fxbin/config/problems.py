"""Messages for everything that can be wrong in a config: key, value, what was expected, what to do."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fxbin import torch_private
from fxbin.config.binarization import Binarization
from fxbin.config.binarizer_parts import Activations, Weights
from fxbin.config.data import Augmentation, Pictures
from fxbin.config.input_info import InputInfo
from fxbin.config.models import Config
from fxbin.config.optimization import EarlyStop, GradientClip
from fxbin.config.params import Params
from fxbin.config.training import Distillation, Ema, Pretrain, Teacher
from fxbin.config.unused import UnusedKeys
from fxbin.errors.messages import did_you_mean

SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Config,
    ("input_info",): InputInfo,
    ("compression",): Binarization,
    ("compression", "params"): Params,
    ("compression", "activations"): Activations,
    ("compression", "weights"): Weights,
    ("gradient_clip",): GradientClip,
    ("early_stop",): EarlyStop,
    ("pretrain",): Pretrain,
    ("ema",): Ema,
    ("augmentation",): Augmentation,
    ("pictures",): Pictures,
    ("distillation",): Distillation,
    ("distillation", "teacher"): Teacher,
}
"""The model of every object in a config, by the keys that lead to it, without list positions."""

EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "invalid_key": "keys that are texts",
    "invalid-json-value": "a JSON value",
    "model_type": "an object",
    "string_too_short": "a text that is not empty",
    "string_type": "a text",
    "too_short": "a list that is not empty",
    "tuple_type": "a list",
}
"""What was expected, by pydantic's error type."""

MISSING = {
    ("compression",): 'add "compression": {"algorithm": "binarization", "mode": "xnor"}',
    ("compression", "algorithm"): 'add "algorithm": "binarization"',
    ("input_info", "sample_size"): 'add the shape of the input, for example "sample_size": [1, 3, 224, 224]',
    ("gradient_clip", "norm"): 'add "norm": 1.0 or "value": 0.5',
    ("early_stop", "patience"): 'add for example "patience": 10',
    ("distillation", "teacher", "model"): (
        'add for example "model": "timm:resnet50", "checkpoint": "runs/large/checkpoint.pt" or '
        '"previous_stage": true'
    ),
}
"""What to add if a required key is missing, by the keys that lead to it."""

LONGEST_VALUE = 80
"""Characters of a value that messages quote."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a config."""

    path: str
    """Key path as the user wrote it: ``compression[0].params.base_lr``. Empty for the whole file."""

    message: str
    """What is wrong, what was expected, and what to do."""

    def __str__(self) -> str:
        """Key path and message as one line."""
        return f"{self.path}: {self.message}" if self.path else self.message


def problems_of(error: ValidationError, data: object) -> list[Problem]:
    """All problems that pydantic found in `data`, without duplicates, as messages of fxbin."""
    return list(dict.fromkeys(_problem(details, data) for details in error.errors(include_url=False)))


def keys_of(section: type[BaseModel]) -> list[str]:
    """The keys of a section as a config spells them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def path_as_written(location: Iterable[str | int], data: object) -> str:
    """`location` as a key path, without the list positions that the user's own text does not have.

    >>> path_as_written(("compression", 0, "mode"), {"compression": {"mode": "bnn"}})
    'compression.mode'
    >>> path_as_written(("compression", 0, "mode"), {"compression": [{"mode": "bnn"}]})
    'compression[0].mode'
    """
    path, here = "", data
    for part in location:
        if isinstance(part, str):
            path += f".{part}" if path else part
            here = here.get(part) if isinstance(here, Mapping) else None
        elif isinstance(here, list | tuple):
            path += f"[{part}]"
            here = here[part] if part < len(here) else None
    return path


def shown(value: object) -> str:
    """`value` as JSON if possible, else its repr, cut to `LONGEST_VALUE` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _problem(details: ErrorDetails, data: object) -> Problem:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    location = (*details["loc"], *context.get("at", ()))
    keys = tuple(part for part in location if isinstance(part, str))
    path = path_as_written(location, data)
    if kind == "extra_forbidden":
        return Problem(path, _unknown_key(keys, value))
    if kind == "missing":
        return Problem(path, f"is missing: {MISSING[keys]}.")
    if kind == "fxbin":
        for part in context["at"]:
            value = value[part]
        expected, hint = context["expected"], context["hint"]
    else:
        expected, hint = _expected(kind, context), _hint(kind, context, keys, value)
    return Problem(path, f"got {shown(value)}, expected {expected}.{' ' + hint if hint else ''}")


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    """The kind of value that was expected, in words."""
    if kind == "literal_error":
        choices = [shown(choice) for choice in _choices(context)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    for bound, words in (
        ("gt", "above"),
        ("ge", "of at least"),
        ("lt", "below"),
        ("le", "of at most"),
    ):
        if bound in context:
            number = "a whole number" if isinstance(context[bound], int) else "a number"
            return f"{number} {words} {context[bound]:g}"
    return EXPECTED.get(kind, kind.replace("_", " "))


def _hint(kind: str, context: Mapping[str, Any], keys: tuple[str, ...], value: object) -> str:
    """The next step as a sentence, if the value suggests one; else empty."""
    if value is None:
        return "null is not allowed: leave the key out for its default."
    if kind in {"float_type", "int_type"} and isinstance(value, bool):
        return "true and false are not numbers."
    if kind in {"float_type", "int_type", "bool_type"} and isinstance(value, str) and _is_json(value):
        return "Write it without quotes."
    if keys == ("compression",) and kind == "model_type":
        return 'Write {"algorithm": "binarization", "mode": "xnor"}.'
    if keys == ("target_device",) and value == "VPU":
        return 'NNCF 2.9 has no "VPU" either: use "NPU", or leave the key out.'
    if kind == "literal_error":
        return did_you_mean(str(value), _choices(context), spelled=shown)
    return ""


def _choices(context: Mapping[str, Any]) -> list[str]:
    """The values of a Literal, parsed from pydantic's message about it."""
    return re.findall(torch_private.LITERAL_CHOICE, context["expected"])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _unknown_key(keys: tuple[str, ...], value: object) -> str:
    """The message about a key that its section does not have."""
    *parents, key = keys
    section = SECTIONS[tuple(parents)]
    homes = [".".join(home) or "the top level" for home, other in SECTIONS.items() if key in keys_of(other)]
    if homes:
        return f"unknown key here (value {shown(value)}): it belongs in {' or '.join(homes)}."
    meant = did_you_mean(key, keys_of(section), spelled=shown)
    if meant:
        return f"unknown key (value {shown(value)}). {meant}"
    known = [name for name in keys_of(section) if name not in UnusedKeys.model_fields]
    return f"unknown key (value {shown(value)}). Known here: {', '.join(known)}."
