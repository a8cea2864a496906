"""Changes to the content of a config, as `--set KEY=VALUE` describes them on the command line."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import json5

from fxbin.config.pattern import REGEX_MARK
from fxbin.config.problems import shown
from fxbin.errors import ConfigError

_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d+)\]")
"""One step of a key: a name after a dot, or a position in brackets."""

_BEGINS_JSON5 = re.compile(r"""[\[{"'/]""")
"""What a value begins with that is not a bare word."""


LEFT_OUT = object()
"""The value of a change that leaves a key out, so that it has its default."""


@dataclass(frozen=True)
class Change:
    """A new value for one key of a config."""

    key: str
    """The key as written: ``"compression.params.base_lr"``, ``"ignored_scopes[1]"``."""

    value: Any
    """The new value, as JSON5 has it; or `LEFT_OUT`."""

    option: str = "--set"
    """The option that asks for it, for messages."""

    def __str__(self) -> str:
        """The option as it may be typed: ``--set epochs=3``, ``--data mnist``."""
        key = f"{self.key}=" if self.option == "--set" else ""
        return f"{self.option} {key}{shown(self.value)}"

    @property
    def steps(self) -> list[str | int]:
        """The names and positions that lead to the value, from the top."""
        return [int(step[2]) if step[2] else step[1] for step in _STEP.finditer(self.key)]


def parse_change(text: str) -> Change:
    """The change that ``KEY=VALUE`` describes: VALUE is JSON5, and a bare word is a text.

    Raises ConfigError if there is no key or no ``=``, or if VALUE begins like JSON5 and is not.

    >>> parse_change("compression.params.base_lr=1e-3")
    Change(key='compression.params.base_lr', value=0.001, option='--set')
    >>> parse_change("model=timm:resnet18").value
    'timm:resnet18'
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or "".join(step[0] for step in _STEP.finditer(key)) != key or not key:
        raise ConfigError(
            f"--set: got {text!r}, expected KEY=VALUE, such as epochs=3, compression.params.base_lr=1e-3 or "
            "'ignored_scopes[0]=\"{re}conv1\"'."
        )
    return Change(key, _value(text, value.strip()))


def _value(text: str, value: str) -> Any:
    try:
        return json5.loads(value)
    except ValueError as error:
        if _BEGINS_JSON5.match(value) and not value.startswith((REGEX_MARK, "/")):
            raise ConfigError(
                f"--set: {text!r}: the value begins like JSON5 and is not: {error}. Write texts with such "
                f"characters in quotes, and all of it in quotes of the shell: 'KEY=\"TEXT\"'."
            ) from error
        return value


def with_changes(data: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """A copy of the content `data` of a config with `changes`, one after the other; it is not checked.

    Objects on the way to a key that are missing are added. A section in a list of one is found with and
    without its position, as in ``compression.mode`` and ``compression[0].mode``.

    Raises ConfigError for a position outside a list, and for a key inside a value that is no object.
    """
    changed = copy.deepcopy(dict(data))
    for change in changes:
        _put(changed, change)
    return changed


def _put(content: dict[str, Any], change: Change) -> None:
    here: Any = content
    steps = change.steps
    for index, step in enumerate(steps[:-1]):
        following = steps[index + 1]
        if isinstance(here, dict) and step not in here:
            here[step] = {}
        # A section that may be a list of one: a position goes into it, a key goes past it.
        inner = here[_checked(here, step, change)]
        if isinstance(inner, list) and len(inner) == 1 and isinstance(following, str):
            inner = inner[0]
        elif isinstance(inner, dict) and following == 0:
            inner = [inner]
        here = inner
    last = _checked(here, steps[-1], change)
    if change.value is LEFT_OUT:
        here.pop(last, None)
    else:
        here[last] = change.value


def _checked(here: Any, step: str | int, change: Change) -> Any:
    """`step`, if it can be followed or set in `here`."""
    if isinstance(here, dict) and isinstance(step, str):
        return step
    if isinstance(here, list) and isinstance(step, int):
        if step < len(here):
            return step
        raise ConfigError(
            f"{change}: the list has {len(here)} elements, the last one at "
            f"{len(here) - 1}: set the whole list to make it longer."
        )
    kind = "a key" if isinstance(step, str) else "a position"
    what = f"a list of {len(here)}" if isinstance(here, list) else shown(here)
    raise ConfigError(
        f"{change}: {kind}, {json.dumps(step)}, was expected to lead into {what}, which has none: "
        "set that value as a whole."
    )
