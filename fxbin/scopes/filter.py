"""Selects nodes by `ignored_scopes` and `target_scopes`, both top-level and in `compression`."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from fxbin.config import Config
from fxbin.config.pattern import is_module_name, matches, matches_text
from fxbin.errors import ScopeError
from fxbin.errors.messages import did_you_mean
from fxbin.scopes.hints import hints, surprise, without_prefix
from fxbin.scopes.quoting import for_config


@dataclass(frozen=True)
class ScopeList:
    """The patterns under one key of a config."""

    option: str
    """The key: ``"compression.ignored_scopes"``."""

    patterns: tuple[str, ...]
    """Names of nodes or modules, or ``{re}`` with a regular expression."""

    def find(self, name: str) -> str | None:
        """The first pattern that selects the node `name`; None if none does."""
        return next((pattern for pattern in self.patterns if matches(name, pattern)), None)

    def find_place(self, place: str) -> str | None:
        """The first pattern that matches the scope `place` of a module as NNCF compares it, as text."""
        return next((pattern for pattern in self.patterns if matches_text(place, pattern)), None)


@dataclass(frozen=True)
class ScopeFilter:
    """Selects nodes by name: those in `targets` that are not in `ignored`."""

    ignored: tuple[ScopeList, ...] = ()
    """Lists of nodes that are not selected."""

    targets: ScopeList | None = None
    """The only nodes that are selected; None selects all, an empty list none."""

    module_ignored: ScopeList | None = None
    """The top-level `ignored_scopes`, which is also compared with modules (see `is_replaced`)."""

    module_targets: ScopeList | None = None
    """The top-level `target_scopes`, which is also compared with modules (see `is_replaced`)."""

    user_classes: tuple[str, ...] = ()
    """Names of classes that were registered with NNCF: `registered_modules`."""

    notes: tuple[str, ...] = ()
    """Sentences about scope keys without effect."""

    @classmethod
    def from_config(cls, config: Config) -> "ScopeFilter":
        """The filter of `config`: both `ignored_scopes` apply, but a top-level `target_scopes` alone."""
        section = config.binarization
        top = _scope_list("ignored_scopes", config.ignored_scopes)
        own = _scope_list("compression.ignored_scopes", section.ignored_scopes)
        top_targets = _scope_list("target_scopes", config.target_scopes)
        own_targets = _scope_list("compression.target_scopes", section.target_scopes)
        ignored = tuple(scopes for scopes in (top, own) if scopes is not None)
        targets = own_targets if top_targets is None else top_targets
        return cls(ignored, targets, top, top_targets, config.registered_modules, config.scope_notes)

    def is_replaced(self, places: Collection[str]) -> bool:
        """Whether NNCF would replace a module, so that its class gets the prefix NNCF in names.

        `places` are all scopes of the module, without prefixes: ``["TinyResNet/Conv2d[conv1]"]``. It is
        enough that a pattern matches one of them. Only the top-level lists count here; PyTorch's names of
        modules in them do not.
        """
        if self.module_ignored is not None and any(self.module_ignored.find_place(place) for place in places):
            return False
        targets = self.module_targets
        if targets is None or (targets.patterns and all(map(is_module_name, targets.patterns))):
            return True
        return any(targets.find_place(place) for place in places)

    def why_excluded(self, name: str) -> str | None:
        """The reason why the node `name` is not selected; None if it is selected."""
        for scopes in self.ignored:
            found = scopes.find(name)
            if found is None and scopes is self.module_ignored:
                found = scopes.find_place(without_prefix(name.rpartition("/")[0]))
            if found is not None:
                return "in ignored_scopes" if found == name else f"in ignored_scopes: {for_config(found)}"
        if self.targets is not None and self.targets.find(name) is None:
            return "not in target_scopes"
        return None

    def check(self, names: Collection[str], modules: Mapping[str, object], *, validate: bool = True) -> None:
        """Raise ScopeError unless each pattern and each registered class matches one of `names`.

        `names` are those of all nodes of the model, `modules` its modules by all of PyTorch's names for them.
        Without `validate`, warn instead. Also warn about lists without effect, and about expressions that
        match by accident.
        """
        problems = list(self.unmatched(names, modules))
        if problems and validate:
            advice = (
                "List the names with `fxbin scopes` or fxbin.node_names, "
                'or set "validate_scopes": false in `compression` to allow it.'
            )
            raise ScopeError("\n".join([*problems, advice]))
        for message in (*problems, *self.notes, *self.surprises(names)):
            warnings.warn(message, stacklevel=5)

    def unmatched(self, names: Collection[str], modules: Mapping[str, object]) -> Iterator[str]:
        """Yield a message for each pattern and each registered class that matches none of `names`."""
        classes = {_class(element) for name in names for element in name.split("/")[:-1]}
        for unknown in (name for name in self.user_classes if name not in classes):
            hint = did_you_mean(unknown, classes) or "Write the name of a class."
            yield f"registered_modules: no node of the model is in a module of class {unknown!r}. {hint}"
        for scopes in self._lists():
            for pattern in scopes.patterns:
                if not any(matches(name, pattern) for name in names):
                    said = [
                        f"{scopes.option}: {for_config(pattern)} matches no node of the model.",
                        *hints(pattern, names, modules),
                    ]
                    yield " ".join(said)

    def surprises(self, names: Collection[str]) -> Iterator[str]:
        """Yield a warning about each pattern that matches by accident."""
        for scopes in self._lists():
            for pattern in scopes.patterns:
                if trap := surprise(pattern, names):
                    yield f"{scopes.option}: {trap}"

    def _lists(self) -> list[ScopeList]:
        return [*self.ignored, *([] if self.targets is None else [self.targets])]


def _class(element: str) -> str:
    """The class in an element of a scope, without prefix: ``"Conv2d"`` of ``"NNCFConv2d[conv1]"``."""
    return without_prefix(element.partition("[")[0])


def _scope_list(option: str, patterns: tuple[str, ...] | None) -> ScopeList | None:
    return None if patterns is None else ScopeList(option, patterns)
