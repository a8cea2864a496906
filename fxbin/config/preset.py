"""Presets: parts of configs that are shipped, each with the settings of a paper or of this project."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import json5

from fxbin.config.binarization import Binarization
from fxbin.config.binarizer_parts import Activations, Parts, Weights
from fxbin.config.written_out import is_written_out, own_section, value_at

SECTIONS: tuple[tuple[str, ...], ...] = (
    ("compression",),
    ("compression", "params"),
    ("compression", "activations"),
    ("compression", "weights"),
    ("distillation",),
)
"""The objects in which a config and its preset are joined key by key; elsewhere the config replaces it."""

PARTS: dict[str, type[Parts]] = {"activations": Activations, "weights": Weights}
"""The sections of `compression` that consist of parts, by key."""


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


def rewrites_of_preset(name: str | None) -> tuple[str, ...]:
    """The rewrites that the preset `name` has; none without a preset."""
    return () if name is None else tuple(preset(name)["compression"].get("rewrites", ()))


def with_preset(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content `data` of a config, with the keys of its `preset` where it does not have them itself.

    A mode in `data` is there instead of the parts of the preset that the mode is about. A `compression` that
    `Config.to_dict` wrote has the keys of the preset already, but for the parts that a mode replaced.
    """
    name = data.get("preset")
    if name not in preset_names():
        return data
    _, own = own_section(data)
    base = dict(preset(name))
    section = base.pop("compression")
    if not is_written_out(data):
        base["compression"] = {
            key: _without_parts(key, value) if key in PARTS and _has_mode(own, key) else value
            for key, value in section.items()
        }
    joined: Mapping[str, Any] = _joined(base, data, ())
    return joined


def replaced_parts(name: str, section: Binarization) -> list[str]:
    """The keys of parts of the preset `name` that `section` does not have, because of its modes."""
    base = preset(name)["compression"]
    return [
        f"compression.{key}.{part}"
        for key, parts in section.parts.items()
        for part in parts.registries()
        if part in base.get(key, {}) and part not in parts.given
    ]


def _has_mode(own: Mapping[str, Any], key: str) -> bool:
    """Whether the algorithm section `own` names a mode for its section `key`, or for all."""
    return "mode" in own or value_at(own, (key, "mode")) is not None


def _without_parts(key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The `content` of a preset's section `key`, without what a mode decides."""
    decided = {"mode", *PARTS[key].registries()}
    return {name: value for name, value in content.items() if name not in decided}


def _joined(base: Any, own: Any, path: tuple[str, ...]) -> Any:
    """`own` with the keys of `base` that it lacks; `own` itself if `path` does not lead to a section."""
    if path == ("compression",) and isinstance(own, list | tuple) and len(own) == 1:
        return [_joined(base, own[0], path)]
    if not isinstance(own, Mapping) or (path and path not in SECTIONS):
        return own
    both = {key: _joined(base[key], own[key], (*path, key)) for key in own if key in base}
    return {**base, **own, **both}
