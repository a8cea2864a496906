"""The registries of the parts of which binarizers are composed, by the names that configs use."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails

from fxbin.binarizers.activation_levels import ActivationLevels, Free, Sign, ZeroScale
from fxbin.binarizers.estimators import (
    EDE,
    ApproxSign,
    Clipped,
    Estimator,
    ReSTE,
    StraightThrough,
    SwishSign,
    Window,
)
from fxbin.binarizers.factory_check import check_name, definition
from fxbin.binarizers.latent import Center, ClampQuantiles, LatentTransform, Standardize, Unchanged
from fxbin.binarizers.part_options import OptionError
from fxbin.binarizers.weight_levels import (
    CenterDistance,
    FilterMean,
    InputMean,
    Learned,
    One,
    PowerOfTwo,
    TensorMean,
    WeightLevels,
)
from fxbin.errors import ConfigError, FxbinError
from fxbin.errors.messages import did_you_mean

P = TypeVar("P")
C = TypeVar("C", bound=type[Any])


class PartError(ConfigError):
    """A part that a config describes wrongly."""

    def __init__(self, expected: str, hint: str = "", key: str = "") -> None:
        super().__init__(f"{key}: expected {expected}. {hint}".strip(": "))
        self.expected = expected
        """What was expected, in words."""
        self.hint = hint
        """The next step, as a sentence; or empty."""
        self.key = key
        """The key of the option inside the description; empty if it is about the part as a whole."""


class PartRegistry(Generic[P]):
    """The parts of one kind by name: dataclasses, whose fields are the options of the part in a config."""

    def __init__(self, kind: str, base: type[P], built_in: Mapping[str, type[P]]) -> None:
        self.kind, self.base = kind, base
        self._parts = dict(built_in)
        self._built_in = frozenset(built_in.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, sorted."""
        return tuple(sorted(self._parts))

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator: make a class available under `name`. Its errors are those of `register_estimator`."""
        check_name(self.kind, name)

        def add(part: C) -> C:
            if not (inspect.isclass(part) and issubclass(part, self.base) and dataclasses.is_dataclass(part)):
                base = self.base.__name__
                raise ConfigError(f"{name!r}: expected a dataclass derived from {base}, got {part!r}")
            if name in self._parts and definition(self._parts[name]) != definition(part):
                raise ConfigError(f"{name!r} is one of the {self.kind} already: choose another name")
            self._parts[name] = cast("type[P]", part)
            return part

        return add

    def name_of(self, part: P) -> str:
        """The name under which the class of `part` is registered; that of the class if it is not."""
        own = definition(type(part))  # and not the class: it may have been registered again since
        return next(
            (name for name, cls in self._parts.items() if definition(cls) == own), type(part).__name__
        )

    def text_of(self, part: P) -> str:
        """The name of `part`, and its options that are not the defaults: ``"clamp_quantiles q_max 0.9"``."""
        options = ((each, getattr(part, each.name)) for each in dataclasses.fields(cast("Any", part)))
        changed = (f"{each.name} {_text(value)}" for each, value in options if value != each.default)
        return " ".join([self.name_of(part), *changed])

    def is_built_in(self, part: P) -> bool:
        """Whether the class of `part` is one of fxbin's."""
        return type(part) in self._built_in

    def class_of(self, given: str | Mapping[str, Any]) -> type[P]:
        """The class of the part that a config describes. Raises PartError if its name is not registered."""
        name, _ = self._split(given)
        if name not in self._parts:
            hint = did_you_mean(name, self.names, 3)
            raise PartError(self.one_of, f"{name!r} is not one of the {self.kind}. {hint}".rstrip())
        return self._parts[name]

    def follows_progress(self, given: str | Mapping[str, Any]) -> bool:
        """Whether the part that a config describes depends on the progress of the training."""
        return bool(getattr(self.make(given), "follows_progress", False))

    @property
    def one_of(self) -> str:
        """The names that a config can give, in words."""
        return f"one of {', '.join(self.names)}"

    def make(self, given: str | Mapping[str, Any]) -> P:
        """The part that a config describes: its name, or an object with the name and options of the part.

        Raises PartError; pydantic's ValidationError for an option whose value has the wrong type.
        """
        name, options = self._split(given)
        part = self.class_of(given)
        _check_options(part, name, options)
        try:
            return part(**options)
        except OptionError as error:
            found = error if error.option in options or error.instead is None else error.instead
            default = getattr(part, found.option, None)
            hint = "" if default is None else f"Leave the option out for its default, {default}."
            raise PartError(found.expected, hint, found.option) from error
        except (TypeError, ValueError, FxbinError) as error:  # what a part of the user's own says
            raise PartError(f"options that {json.dumps(name)} takes", str(error)) from error

    def _split(self, given: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if isinstance(given, str):
            return given, {}
        options = dict(given)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise PartError(self.one_of, f'Add the key "name": {self.one_of}.')
        return name, options


def _text(value: Any) -> str:
    """`value` as text; 3 and 3.0, which a config may give for the same option, alike."""
    return f"{value:.12g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _check_options(part: type[Any], name: str, options: Mapping[str, Any]) -> None:
    """Raise the errors of `PartRegistry.make` unless `options` are those of `part`, of the right types."""
    fields = {field.name: field for field in dataclasses.fields(part) if field.init}
    for key, value in options.items():
        if key not in fields:
            known = f"an option of {json.dumps(name)}: {', '.join(sorted(fields))}"
            none = f"no option, as {json.dumps(name)} has none"
            hint = did_you_mean(str(key), fields, spelled=json.dumps)
            raise PartError(known if fields else none, hint, key)
        _check_type(part, key, value)
    missing = [key for key, field in fields.items() if not _has_default(field) and key not in options]
    if missing:
        needed = f"an object with {', '.join(map(json.dumps, missing))}, which {json.dumps(name)} needs"
        example = "".join(f", {json.dumps(key)}: ..." for key in missing)
        raise PartError(needed, f'Write {{"name": {json.dumps(name)}{example}}}.')


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    """Whether a part can be made without this option."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _check_type(part: type[Any], key: str, value: Any) -> None:
    """Raise ValidationError, at `key`, unless `value` has the type that `part` declares for that field."""
    expected = get_type_hints(part, include_extras=True)[key]
    try:
        TypeAdapter(expected).validate_python(value, strict=True)
    except ValidationError as error:
        details = [
            InitErrorDetails(type=each["type"], loc=(key,), input=each["input"], ctx=each.get("ctx", {}))
            for each in error.errors(include_url=False)
        ]
        raise ValidationError.from_exception_data(part.__name__, details) from None


activation_levels = PartRegistry(
    "levels of activations",
    ActivationLevels,  # type: ignore[type-abstract]  # any subclass
    {"zero_scale": ZeroScale, "sign": Sign, "free": Free},
)
estimators = PartRegistry(
    "estimators",
    Estimator,  # type: ignore[type-abstract]  # any subclass
    {
        "straight_through": StraightThrough,
        "window": Window,
        "clipped": Clipped,
        "approx_sign": ApproxSign,
        "swish_sign": SwishSign,
        "ede": EDE,
        "reste": ReSTE,
    },
)
weight_levels = PartRegistry(
    "levels of weights",
    WeightLevels,  # type: ignore[type-abstract]  # any subclass
    {
        "filter_mean": FilterMean,
        "input_mean": InputMean,
        "tensor_mean": TensorMean,
        "power_of_two": PowerOfTwo,
        "one": One,
        "learned": Learned,
        "center_distance": CenterDistance,
    },
)
latent_transforms = PartRegistry(
    "transformations of latent weights",
    LatentTransform,  # type: ignore[type-abstract]  # any subclass
    {
        "none": Unchanged,
        "center": Center,
        "standardize": Standardize,
        "clamp_quantiles": ClampQuantiles,
    },
)


def register_estimator(name: str) -> Callable[[C], C]:
    """Decorator: make a dataclass derived from `Estimator` available as an `estimator` in configs.

    Its fields are the options of the estimator. Registering the same definition again, as when a notebook
    cell is run twice, replaces the earlier one.
    `transform` tries the methods of a part before it makes binarizers of it, and names what does not fit.
    Raises ConfigError if something else has that name, if that is empty, or if it is not such a dataclass.
    """
    return estimators.register(name)


def register_activation_levels(name: str) -> Callable[[C], C]:
    """Decorator: make a dataclass derived from `ActivationLevels` available as `activations.levels`.

    The rules of `register_estimator` apply.
    """
    return activation_levels.register(name)


def register_weight_levels(name: str) -> Callable[[C], C]:
    """Decorator: make a dataclass derived from `WeightLevels` available as `weights.levels` in configs.

    The rules of `register_estimator` apply.
    """
    return weight_levels.register(name)


def register_latent_transform(name: str) -> Callable[[C], C]:
    """Decorator: make a dataclass derived from `LatentTransform` available as `weights.latent` in configs.

    The rules of `register_estimator` apply.
    """
    return latent_transforms.register(name)
