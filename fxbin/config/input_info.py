"""Keys of `input_info`: the inputs of the model."""

from typing import Annotated, Literal

from pydantic import Field

from fxbin.config.value_types import Count, NotNull, Section, Text, problem


class InputInfo(Section):
    """One input of the model, for tracing, shapes and export."""

    sample_size: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Shape of the input, batch first: `[1, 3, 224, 224]`."""

    type: Annotated[Literal["float", "long"] | None, NotNull] = None
    """`long` for int64, `float` for float32; without it, the dtype of the model's parameters."""

    filler: Literal["ones", "zeros", "random"] = "ones"
    """What the example input holds; `random` is uniform on [0, 1), or 0 and 1 for `long`."""

    keyword: Annotated[Text | None, NotNull] = None
    """Name of the forward argument; inputs without it are positional, in their order."""


def different_keywords(infos: tuple[InputInfo, ...]) -> tuple[InputInfo, ...]:
    """Refuse two inputs for one forward argument."""
    keywords = [info.keyword for info in infos]
    for index, keyword in enumerate(keywords):
        if keyword is not None and keyword in keywords[:index]:
            raise problem("another name", "Two inputs have this keyword.", (index, "keyword"))
    return infos
