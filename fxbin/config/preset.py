"""Presets: parts of configs that are shipped, each with the settings of a paper or of this project."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import json5

SECTIONS: tuple[tuple[str, ...], ...] = (
    ("compression",),
    ("compression", "params"),
    ("compression", "activations"),
    ("compression", "weights"),
    ("distillation",),
)
"""The objects in which a config and its preset are joined key by key; elsewhere the config replaces it."""


@cache
def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    files = resources.files("fxbin.config").joinpath("presets").iterdir()
    return tuple(sorted(file.name.removesuffix(".json5") for file in files if file.name.endswith(".json5")))


@cache
def preset(name: str) -> Mapping[str, Any]:
    """The content of the preset `name`, which must be one of `preset_names`."""
    file = resources.files("fxbin.config").joinpath("presets", f"{name}.json5")
    content: Mapping[str, Any] = json5.loads(file.read_text(encoding="utf-8"))
    return content


def with_preset(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content `data` of a config, with the keys of its `preset` where it does not have them itself."""
    name = data.get("preset")
    return _joined(preset(name), data, ()) if name in preset_names() else data


def _joined(base: Any, own: Any, path: tuple[str, ...]) -> Any:
    """`own` with the keys of `base` that it lacks; `own` itself if `path` does not lead to a section."""
    if path == ("compression",) and isinstance(own, list | tuple) and len(own) == 1:
        return [_joined(base, own[0], path)]
    if not isinstance(own, Mapping) or (path and path not in SECTIONS):
        return own
    both = {key: _joined(base[key], own[key], (*path, key)) for key in own if key in base}
    return {**base, **own, **both}
