"""Options of parts: every mistake is told with its key, the value, what was expected and the next step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

import fxbin
from fxbin.binarizers import parts
from fxbin.config import check_config
from fxbin.errors import ConfigError

KEYS = {
    "window": "activations.estimator",
    "ede": "activations.estimator",
    "reste": "activations.estimator",
    "swish_sign": "activations.estimator",
    "approx_sign": "activations.estimator",
    "sign": "activations.levels",
    "clamp_quantiles": "weights.latent",
    "steps": "weights.levels",
}


def problems(part: str, **options: Any) -> list[str]:
    section, key = KEYS[part].split(".")
    parts_of_it = {section: {key: {"name": part, **options}}}
    return [*map(str, check_config({"compression": {"algorithm": "binarization", **parts_of_it}}))]


@pytest.mark.parametrize(
    ("part", "options", "option", "message"),
    [
        ("window", {"width": math.inf}, "width", "got Infinity, expected a finite number above 0. Leave the"),
        ("window", {"width": math.nan}, "width", "got NaN, expected a finite number above 0. Leave the"),
        ("swish_sign", {"beta": 0}, "beta", "got 0, expected a finite number above 0. Leave the option out"),
        ("ede", {"t_min": -1}, "t_min", "got -1, expected a finite number above 0. Leave the option out for"),
        (
            "reste",
            {"o_end": 0.5},
            "o_end",
            "got 0.5, expected a finite number of at least 1. Leave the option",
        ),
        ("reste", {"small": math.inf}, "small", "got Infinity, expected a finite number above 0. Leave the"),
        ("clamp_quantiles", {"q_max": 1}, "q_max", "got 1, expected a number above 0.5 and below 1. Leave"),
        ("ede", {"t_max": "5"}, "t_max", 'got "5", expected a number. Write it without quotes.'),
        ("ede", {"t_max": True}, "t_max", "got true, expected a number. true and false are not numbers."),
        ("sign", {"learned_scale": 1}, "learned_scale", "got 1, expected true or false."),
        (
            "sign",
            {"shift_init": "maen"},
            "shift_init",
            'got "maen", expected one of "mean", "zero". Did you mean "mean"?',
        ),
        ("approx_sign", {"width": 1}, "width", 'got 1, expected no option, as "approx_sign" has none.'),
    ],
)
def test_a_value_out_of_range_is_told_at_its_option(
    part: str, options: Mapping[str, Any], option: str, message: str
) -> None:
    (problem,) = problems(part, **options)
    assert problem.startswith(f"compression.{KEYS[part]}.{option}: {message}")


@pytest.mark.parametrize(
    ("part", "lower", "upper", "defaults"),
    [
        ("ede", "t_min", "t_max", (0.1, 10)),
        ("reste", "small", "bound", (0.1, 1.5)),
        ("clamp_quantiles", "q_min", "q_max", (0.85, 0.99)),
    ],
)
def test_a_range_has_its_bounds_in_order(
    part: str, lower: str, upper: str, defaults: tuple[float, float]
) -> None:
    least, most = defaults
    both = {lower: most, upper: least}
    (problem,) = problems(part, **both)
    expected = f'expected a number of at most "{upper}", which is {least}.'
    assert problem.startswith(f"compression.{KEYS[part]}.{lower}: got {most}, {expected}")
    # The option that is not given has its default, and cannot be the one to blame.
    (problem,) = problems(part, **{upper: 0.51 if part == "clamp_quantiles" else 0.01})
    assert f".{upper}: got 0." in problem
    assert f'expected a number of at least "{lower}", which is {least}.' in problem
    assert problems(part, **{lower: most, upper: most}) == []


def test_parts_of_ones_own_are_told_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.weight_levels, "_parts", dict(parts.weight_levels._parts))

    @fxbin.register_weight_levels("steps")
    @dataclass(frozen=True)
    class Steps(fxbin.WeightLevels):
        count: int
        kind: str = "even"

        def __post_init__(self) -> None:
            if self.count % 2:
                raise ValueError("The count must be even.")

        def of(self, *_: Any) -> tuple[Tensor | None, Tensor]:
            raise NotImplementedError

    at = "compression.weights.levels"
    assert problems("steps", count=2) == []
    needed = 'an object with "count", which "steps" needs. Write {"name": "steps", "count": ...}.'
    assert problems("steps") == [f'{at}: got {{"name": "steps"}}, expected {needed}']
    assert problems("steps", count=2.5) == [f"{at}.count: got 2.5, expected a whole number."]
    refused = (
        'got {"name": "steps", "count": 3}, expected options that "steps" takes. The count must be even.'
    )
    assert problems("steps", count=3) == [f"{at}: {refused}"]
    with pytest.raises(
        ConfigError, match=r'expected an option of "steps": count, kind\. Did you mean "kind"'
    ):
        fxbin.load_config(
            {
                "compression": {
                    "algorithm": "binarization",
                    "weights": {"levels": {"name": "steps", "knd": "even"}},
                }
            }
        )
