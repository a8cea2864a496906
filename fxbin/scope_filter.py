"""Which node names a config selects: `ignored_scopes` and `target_scopes`."""

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fxbin.config import Config
from fxbin.errors import ScopeError

REGEX_MARK = "{re}"
"""An entry that contains it, anywhere, is a regular expression without it."""


@dataclass(frozen=True)
class ScopeFilter:
    """The patterns of a config. An entry is a whole node name, or a regular expression found in one."""

    ignored: tuple[str, ...] = ()

    targets: tuple[str, ...] | None = None
    """None selects everything, an empty tuple nothing."""

    @classmethod
    def from_config(cls, config: Config) -> "ScopeFilter":
        """Top-level and algorithm-level scopes together; a top-level `target_scopes` wins, as in NNCF."""
        section = config.binarization
        ignored = (*(config.ignored_scopes or ()), *(section.ignored_scopes or ()))
        targets = config.target_scopes if config.target_scopes is not None else section.target_scopes
        return cls(ignored, targets)

    def why_excluded(self, name: str) -> str | None:
        """Why the node `name` is not selected; None if it is. Ignored wins over targeted."""
        for pattern in self.ignored:
            if matches(name, pattern):
                return "in ignored_scopes" if pattern == name else f"in ignored_scopes: {pattern!r}"
        if self.targets is not None and not any(matches(name, pattern) for pattern in self.targets):
            return "not in target_scopes"
        return None

    def check(self, names: Collection[str]) -> None:
        """Raise ScopeError unless every pattern matches one of `names`, all nodes of the model."""
        problems = [
            *_unmatched("ignored_scopes", self.ignored, names),
            *_unmatched("target_scopes", self.targets or (), names),
        ]
        if problems:
            raise ScopeError("\n".join(problems))


def matches(name: str, pattern: str) -> bool:
    """Whether `pattern` selects the node `name`. Raises ScopeError for an invalid expression."""
    if REGEX_MARK not in pattern:
        return name == pattern
    try:
        return re.search(pattern.replace(REGEX_MARK, ""), name) is not None
    except re.error as error:
        raise ScopeError(
            f"ignored_scopes/target_scopes: {pattern!r} is not a regular expression: {error}. "
            r"Write brackets of names as \[ and \]."
        ) from error


def _unmatched(option: str, patterns: Sequence[str], names: Collection[str]) -> Iterable[str]:
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            close = difflib.get_close_matches(pattern.replace(REGEX_MARK, ""), names, cutoff=0.4)
            hint = f"Closest: {', '.join(close)}. " if close else ""
            yield (
                f"{option}: {pattern!r} matches no node of the model. {hint}"
                "List the names with `fxbin scopes` or fxbin.node_names, "
                'or set "validate_scopes": false to allow it.'
            )
