"""The kinds of value that config keys have, stricter than pydantic's own: nothing is converted silently."""

import json
from collections.abc import Iterable, Sequence
from inspect import Parameter, Signature
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import override

from fxbin.config.pattern import why_invalid
from fxbin.errors import ConfigError
from fxbin.errors.messages import did_you_mean


class Section(BaseModel):
    """Base class of objects in a config: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    has_effect: ClassVar[bool] = True
    """Whether the keys of this class do anything; `help` leaves out those that do not."""

    @override
    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Let `help` begin with the keys and their defaults, where pydantic has pages of types."""
        super().__pydantic_init_subclass__(**kwargs)
        unused = {
            name
            for base in cls.__mro__
            if issubclass(base, Section) and not vars(base).get("has_effect", True)
            for name in base.model_fields
        }
        # A key with an alias, such as "$schema", cannot be an argument.
        keys = {
            name: field for name, field in cls.model_fields.items() if name not in unused and not field.alias
        }
        required = [Parameter(name, Parameter.KEYWORD_ONLY) for name in keys if keys[name].is_required()]
        optional = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=field.get_default(call_default_factory=True))
            for name, field in keys.items()
            if not field.is_required()
        ]
        cls.__signature__ = Signature([*required, *optional])

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """The keys that were given, in the config or by its preset; the others have their defaults."""
        return [(name, value) for name, value in super().__repr_args__() if name in self.model_fields_set]

    @override
    def __str__(self) -> str:
        return repr(self)

    @override
    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise self._frozen(f"set {name} = {value!r}")

    @override
    def __delattr__(self, name: str) -> NoReturn:
        raise self._frozen(f"delete {name}")

    def _frozen(self, tried: str) -> ConfigError:
        return ConfigError(
            f"{type(self).__name__}: cannot {tried}, as a config that has been read does not change. Change "
            "the file or the dict that it is read from, or what config.to_dict() returns, and read that with "
            "fxbin.load_config."
        )


def problem(expected: str, hint: str = "", at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """An error for validators to raise: what was expected, the next step, and the key inside the value."""
    return PydanticCustomError("fxbin", "expected {expected}", {"expected": expected, "hint": hint, "at": at})


def one_of(name: str, names: Sequence[str], own: str = "") -> str:
    """Refuse a `name` that is not one of `names`; `own` says how to add one, or what else may stand there."""
    if name not in names:
        hint = did_you_mean(name, names, spelled=json.dumps)
        raise problem(f"one of {', '.join(names)}", f"{hint} {own}".strip())
    return name


def valid_expression(pattern: str) -> str:
    """Refuse ``{re}`` with an expression that Python cannot compile."""
    if why_invalid(pattern):
        hint = f"It {why_invalid(pattern)} JSON has each backslash twice."
        raise problem(r"a regular expression after {re}", hint)
    return pattern


def _refuse_null(value: Any) -> Any:
    """Refuse JSON's null: a key without a value is left out."""
    if value is None:
        raise problem("a value", "null is not allowed: leave the key out for its default.")
    return value


def _as_int(value: Any) -> Any:
    """384.0 as the int 384, because JSON has only one kind of number; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _OneOrMore:
    """Marks keys that take a list, or one element without a list; the value is always a tuple."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._as_list, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}

    @staticmethod
    def _as_list(value: Any) -> Any:
        return value if isinstance(value, list | tuple) else [value]


Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
ShareBelowOne = Annotated[Number, Field(ge=0, lt=1)]
Whole = Annotated[int, Strict(), Field(ge=0), BeforeValidator(_as_int)]
Count = Annotated[int, Strict(), Field(gt=0), BeforeValidator(_as_int)]
Magnitude = Annotated[int, Strict(), Field(ge=0, le=30), BeforeValidator(_as_int)]
"""Of RandAugment's operations."""

Seed = Annotated[int, Strict(), Field(ge=0, le=10**18), BeforeValidator(_as_int)]
"""Generators take 64 bits, and some seeds have a small number added."""

Text = Annotated[str, Strict(), Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Pattern = Annotated[Text, AfterValidator(valid_expression)]

NotNull = BeforeValidator(_refuse_null)
"""For keys whose default, None, means "not given"."""

OneOrMore = _OneOrMore()
"""For keys that take a list, or one element without a list."""
