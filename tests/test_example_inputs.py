"""Example inputs made from `input_info`."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import nn

import fxbin
from fxbin.config.example_inputs import example_inputs
from fxbin.errors import ConfigError
from tests.transforming import SMALL, Small

if TYPE_CHECKING:
    from fxbin.config import Config


def config_of(*infos: dict[str, Any]) -> "Config":
    """A config reduced to its `input_info`: other keys do not matter here, nor does its own validation."""
    defaults: dict[str, Any] = {"type": None, "filler": "ones", "keyword": None}
    elements = tuple(SimpleNamespace(**(defaults | info)) for info in infos)
    return cast("Config", SimpleNamespace(input_info=elements))


def test_positional_elements_keep_their_order_and_keywords_their_name() -> None:
    args, kwargs = example_inputs(
        config_of(
            {"sample_size": (1, 2)},
            {"sample_size": (5,), "keyword": "mask", "filler": "zeros"},
            {"sample_size": (3,), "type": "long"},
        )
    )
    assert [tuple(arg.shape) for arg in args] == [(1, 2), (3,)]
    assert [arg.dtype for arg in args] == [torch.float32, torch.int64]
    assert torch.equal(args[0], torch.ones(1, 2))
    assert list(kwargs) == ["mask"]
    assert torch.equal(kwargs["mask"], torch.zeros(5))


@pytest.mark.parametrize("dtype", ["long", "float"])
def test_random_filler_is_repeatable_and_leaves_the_global_random_state_alone(dtype: str) -> None:
    config = config_of({"sample_size": (4, 8), "filler": "random", "type": dtype})
    before = torch.get_rng_state()
    (first,), _ = example_inputs(config)
    (second,), _ = example_inputs(config)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert 0 <= float(first.min()) < float(first.max()) <= 1


@pytest.mark.parametrize("sizes", [(), (1, 0), (-1, 3)])
def test_a_size_that_is_not_positive_is_an_error_that_names_the_key(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"input_info\[1\]\.sample_size"):
        example_inputs(config_of({"sample_size": (1,)}, {"sample_size": sizes}))


def test_no_input_info_is_an_error_with_an_example() -> None:
    with pytest.raises(ConfigError, match=r'input_info: .*"sample_size"'):
        example_inputs(config_of())


def test_a_keyword_used_twice_is_an_error() -> None:
    info = {"sample_size": (1,), "keyword": "mask"}
    with pytest.raises(ConfigError, match=r"input_info\[1\]\.keyword: 'mask'"):
        example_inputs(config_of(info, info))


def test_an_unknown_filler_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"input_info\[0\]\.filler.*'gauss'"):
        example_inputs(config_of({"sample_size": (1,), "filler": "gauss"}))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_have_the_dtype_of_the_model_unless_the_config_says_another(dtype: torch.dtype) -> None:
    model = nn.Conv2d(3, 4, 3).to(dtype)
    infos: list[dict[str, Any]] = [
        {"sample_size": [1, 3, 8, 8]},
        {"sample_size": [1, 3, 8, 8], "filler": "random"},
        {"sample_size": [1, 3, 8, 8], "type": "float"},
        {"sample_size": [1, 3, 8, 8], "type": "long"},
    ]
    args, _ = example_inputs(config_of(*infos), model)
    assert [x.dtype for x in args] == [dtype, dtype, torch.float32, torch.int64]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_in_another_dtype_is_transformed_from_its_config_alone(dtype: torch.dtype) -> None:
    model = Small().to(dtype).eval()
    binarized = fxbin.transform(model, SMALL)
    x = torch.rand(2, 3, 8, 8, dtype=dtype)
    assert torch.equal(binarized(x), model(x))
