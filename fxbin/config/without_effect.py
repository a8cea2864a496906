"""Keys of `compression` that have no effect beside other keys, by what modes and parts declare to read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from fxbin.binarizers.composed import LEVELS_OF_MODE
from fxbin.binarizers.parts import activation_levels
from fxbin.binarizers.registry import activations_are_composed
from fxbin.config.binarization import Binarization
from fxbin.config.value_types import problem
from fxbin.config.written_out import is_written_out, own_section, value_at

Keys = tuple[str, ...]
"""The keys that lead to a value from `compression`: ``("params", "weight_scale_axis")``."""


@dataclass(frozen=True)
class WithoutEffect:
    """A key that has no effect."""

    keys: Keys
    """The keys that lead to it."""

    beside: str
    """Beside what, or without what, and why."""

    hint: str = ""
    """The next step, as a sentence."""

    is_error: bool = True
    """Whether a user who writes it contradicts himself; otherwise it is only worth a note."""


@dataclass(frozen=True)
class Asked:
    """The algorithm section of a config, and which part of it the user wrote himself."""

    section: Binarization
    own: Mapping[str, Any] = field(default_factory=dict)
    """The section as the user wrote it."""

    preset: str | None = None
    """The preset that the rest of it may come from."""

    def named(self, *keys: str) -> str:
        """The key that `keys` lead to, its value or the name of the part that it is, and where it is from."""
        value = reduce(getattr, keys, self.section)
        name = value["name"] if isinstance(value, Mapping) else value
        is_own = self.preset is None or value_at(self.own, keys) is not None
        origin = "" if is_own else f" of preset {json.dumps(self.preset)}"
        return f"compression.{'.'.join(keys)} {json.dumps(name)}{origin}"


def refuse_keys_without_effect(data: Any, section: Binarization, preset: str | None) -> None:
    """Raise ValidationError for the keys in `data` that contradict others; `section` was read from it.

    A config that `Config.to_dict` wrote has all keys and is accepted: `notes_without_effect` are about it.
    """
    if not isinstance(data, Mapping) or is_written_out(data):
        return
    path, own = own_section(data)
    found = [
        InitErrorDetails(
            type=problem(f"no such key {each.beside}", each.hint),
            loc=(*path, *each.keys),
            input=value_at(own, each.keys),
        )
        for each in keys_without_effect(Asked(section, own, preset))
        if each.is_error and value_at(own, each.keys) is not None
    ]
    if found:
        raise ValidationError.from_exception_data("Config", found)


def notes_without_effect(section: Binarization) -> Iterator[str]:
    """Notes about keys of `section` that have another value than their default, and no effect."""
    for each in keys_without_effect(Asked(section)):
        *parents, key = each.keys
        holder: Any = reduce(getattr, parents, section)
        value = getattr(holder, key)
        if value != type(holder).model_fields[key].default:
            yield f"compression.{'.'.join(each.keys)}: {json.dumps(value)} has no effect {each.beside}"


def keys_without_effect(asked: Asked) -> Iterator[WithoutEffect]:
    """The keys that have no effect, whether given or not."""
    yield from _replaced_modes(asked)
    section = asked.section
    # A binarizer of the user's own may read any of `params`, and follow the progress.
    if section.weights_mode in LEVELS_OF_MODE and activations_are_composed(section.activations_mode):
        yield from _unread_by_weights(asked)
        yield from _unread_by_activations(asked)
        yield from _unfollowed_progress(asked)


def _replaced_modes(asked: Asked) -> Iterator[WithoutEffect]:
    """Modes of which parts, or modes of the sections, replace everything."""
    section = asked.section
    replacing: dict[str, list[Keys]] = {}
    for name, parts in section.parts.items():
        keys: list[Keys] = [(name, key) for key in parts.given]
        is_complete = parts.given.keys() == parts.registries().keys()
        if parts.mode is not None and is_complete:
            yield WithoutEffect((name, "mode"), *_replaced_by(asked, keys))
        if parts.mode is not None or is_complete:
            replacing[name] = keys if parts.mode is None else [(name, "mode")]
    is_repeated = section.mode in [parts.mode for parts in section.parts.values()]
    if replacing.keys() == section.parts.keys() and not is_repeated:
        yield WithoutEffect(
            ("mode",), *_replaced_by(asked, [key for keys in replacing.values() for key in keys])
        )
    elif section.weights_mode in LEVELS_OF_MODE and section.weights.levels is not None:
        default = type(section).model_fields["mode"].default
        rest = f"as the rest of it is the same in {json.dumps(default)}"
        beside = f"beside {asked.named('weights', 'levels')}, {rest}"
        keys_of_mode = ("mode",) if section.weights.mode is None else ("weights", "mode")
        if section.weights_mode != default:
            yield WithoutEffect(keys_of_mode, beside, is_error=False)


def _replaced_by(asked: Asked, keys: list[Keys]) -> tuple[str, str]:
    """That `keys` replace a mode, and the next step."""
    names = ", ".join(asked.named(*each) for each in keys)
    return f"beside {names}, which replace all of it", "Remove it, or those that are to be as the mode says."


def _unread_by_weights(asked: Asked) -> Iterator[WithoutEffect]:
    """Keys of `params` that other modes read."""
    section = asked.section
    levels = section.weights.levels
    mode_keys = ("mode",) if section.weights.mode is None else ("weights", "mode")
    read = LEVELS_OF_MODE[section.weights_mode].from_params if levels is None else ()
    beside = asked.named(*mode_keys) if levels is None else asked.named("weights", "levels")
    for key in dict.fromkeys(key for mode in LEVELS_OF_MODE.values() for key in mode.from_params):
        if key not in read:
            readers = [json.dumps(name) for name, mode in LEVELS_OF_MODE.items() if key in mode.from_params]
            yield WithoutEffect(
                ("params", key),
                f"beside {beside}, which does not read it",
                f"Remove it, or replace the levels by those of mode {' or '.join(readers)}, which reads it.",
                is_error=levels is not None,
            )


def _unread_by_activations(asked: Asked) -> Iterator[WithoutEffect]:
    """Keys of `params` that other levels read, or that the levels have as their own options."""
    levels = asked.section.activations.levels
    if levels is None:
        return  # those of NNCF, which read them all
    options = dict(levels) if isinstance(levels, Mapping) else {}
    own = activation_levels.class_of(levels).from_params
    every = {name: activation_levels.class_of(name).from_params for name in activation_levels.names}
    for key in dict.fromkeys(key for keys in every.values() for key in keys.values()):
        readers = [json.dumps(name) for name, keys in every.items() if key in keys.values()]
        option = next((option for option, other in own.items() if other == key), None)
        if option is None:
            yield WithoutEffect(
                ("params", key),
                f"beside {asked.named('activations', 'levels')}, which does not read it",
                f"Remove it, or replace the levels by {' or '.join(readers)}, which reads it.",
            )
        elif option in options:
            beside = f"beside compression.activations.levels.{option} {json.dumps(options[option])}"
            yield WithoutEffect(("params", key), f"{beside}, which is used instead", "Keep one of the two.")


def _unfollowed_progress(asked: Asked) -> Iterator[WithoutEffect]:
    """The length of a change, if nothing changes."""
    section = asked.section
    if section.changing_parts:
        return
    followers = sorted(
        {
            json.dumps(name)
            for parts in section.parts.values()
            for registry in parts.registries().values()
            for name in registry.names
            if getattr(registry.class_of(name), "follows_progress", False) is True
        }
    )
    yield WithoutEffect(
        ("params", "progress_epochs"),
        f"without a part that changes from epoch to epoch, such as {', '.join(followers)}",
        "Remove it.",
        is_error=any(parts.given for parts in section.parts.values()),
    )
