"""The kinds of value that config keys have, stricter than pydantic's own: nothing is converted silently."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """An object in a config: immutable, and with no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def problem(expected: str, hint: str = "", at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """What validators raise: what was expected, the next step, and which key inside the value is meant."""
    return PydanticCustomError("fxbin", "expected {expected}", {"expected": expected, "hint": hint, "at": at})


def _refuse_null(value: Any) -> Any:
    """Refuse JSON's null: a key without a value is left out."""
    if value is None:
        raise problem("a value", "null is not allowed: leave the key out for its default.")
    return value


def _as_int(value: Any) -> Any:
    """384.0 as 384: JSON knows one kind of number only."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_list(value: Any) -> Any:
    """One string or object as the list that holds it."""
    if isinstance(value, list | tuple):
        return value
    return [value]


Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Whole = Annotated[int, Strict(), BeforeValidator(_as_int, json_schema_input_type=int)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[Whole, Field(gt=0)]
Text = Annotated[str, Strict(), Field(min_length=1)]
Flag = Annotated[bool, Strict()]

NotNull = BeforeValidator(_refuse_null)
"""For keys whose default, None, stands for "not given"."""

OneOrMore = BeforeValidator(_as_list)
"""For keys that hold a list, or one element without the list around it."""
