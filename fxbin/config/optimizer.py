"""The config key `optimizer`: an optimizer of `torch.optim` by name, with its arguments."""

import copy
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fxbin.config.value_types import problem
from fxbin.errors.messages import did_you_mean

OptimizerValue = str | dict[str, JsonValue]
"""``"SGD"``, or ``{"name": "SGD", "momentum": 0.9}``."""

UNSUITABLE = {
    "LBFGS": "its step evaluates the loss several times by a closure, and fxbin computes it once for a step",
    "Muon": "it only takes matrices, and convolutions have 4-d weights",
    "SparseAdam": "it only takes sparse gradients, and those of convolutions are dense",
}
"""Optimizers of torch that cannot train here, and why."""

ELSEWHERE = {
    "lr": 'It is "compression.params.base_lr" in the stages, "pretrain.lr" before them.',
    "weight_decay": 'It is "compression.params.base_wd" in the stages, "pretrain.weight_decay" before them.',
    "maximize": "It would make the loss as large as possible.",
    "differentiable": "Nothing here differentiates through a step.",
}
"""Arguments of optimizers that `optimizer` does not take, and what to do instead."""

OF_NNCF = {"type", "base_lr", "optimizer_params", "schedule_type", "schedule_params"}
"""Keys of the object that configs of NNCF's samples have under the same name; it has no effect."""


def is_of_nncf(value: object) -> bool:
    """Whether `value` is the `optimizer` section of an NNCF sample, which has no effect here; also ``{}``."""
    return isinstance(value, Mapping) and "name" not in value and (not value or bool(OF_NNCF & value.keys()))


def optimizer_names() -> list[str]:
    """The optimizers of the installed torch that can train a network here, in alphabetical order."""
    return sorted(name for name in _classes() if name not in UNSUITABLE)


def make_optimizer(value: OptimizerValue, parameters: Any, **rates: float) -> torch.optim.Optimizer:
    """The optimizer that a valid `value` names, for `parameters` or groups of them; Adam for one of NNCF."""
    cls: Callable[..., torch.optim.Optimizer] = _class_of(value)
    return cls(parameters, **rates, **_options(value))


def has_weight_decay(value: OptimizerValue) -> bool:
    """Whether the optimizer that a valid `value` names knows weight decay."""
    return "weight_decay" in _parameters(_class_of(value))


def _class_of(value: OptimizerValue) -> type[torch.optim.Optimizer]:
    if is_of_nncf(value):
        return torch.optim.Adam
    return _classes()[str(value["name"]) if isinstance(value, dict) else value]


def _options(value: OptimizerValue) -> dict[str, Any]:
    """The arguments in `value`, lists as tuples, which is how torch writes `betas`."""
    if isinstance(value, str) or is_of_nncf(value):
        return {}
    return {
        key: tuple(option) if isinstance(option, list) else option
        for key, option in value.items()
        if key != "name"
    }


class OptimizerKey:
    """Marks a key that takes an optimizer; names, arguments and their values are tried by making one."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_check)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        name = {"type": "string", "examples": optimizer_names()}
        # Any object: an `optimizer` of NNCF has no name.
        return {"anyOf": [name, {"type": "object", "properties": {"name": name}}]}


def _check(value: Any) -> Any:
    """Return `value` if it is an optimizer that can be made; raise a problem otherwise."""
    if is_of_nncf(value):
        return copy.deepcopy(value)
    name = value.get("name") if isinstance(value, dict) else value
    at = ("name",) if isinstance(value, dict) and "name" in value else ()
    if not (isinstance(name, str) and name):
        hint = 'Write for example {"name": "SGD", "momentum": 0.9}.'
        raise problem("the name of an optimizer of torch.optim, or an object with it", hint, at)
    known = optimizer_names()
    if name in UNSUITABLE:
        raise problem(f"one of {', '.join(known)}", f"{name} cannot train here: {UNSUITABLE[name]}.", at)
    if name not in known:
        raise problem(f"one of {', '.join(known)}", did_you_mean(name, known, 3, json.dumps), at)
    for key in _options(value):
        _check_argument(name, key)
    try:
        make_optimizer(value, [torch.nn.Parameter(torch.zeros(2, 2))], lr=1e-3)
    except Exception as error:
        raise problem(f"arguments that {name} takes", f"torch says: {error}") from error
    return copy.deepcopy(value)


def _check_argument(name: str, key: str) -> None:
    """Raise a problem if the optimizer `name` has no argument `key`, or it is said elsewhere."""
    taken = [argument for argument in _parameters(_classes()[name]) if argument not in ELSEWHERE]
    if key in ELSEWHERE:
        raise problem(f"none of {', '.join(ELSEWHERE)} here", ELSEWHERE[key], (key,))
    if key not in taken:
        raise problem(
            f"an argument of {name}: {', '.join(taken)}", did_you_mean(key, taken, 3, json.dumps), (key,)
        )


def _parameters(cls: type[torch.optim.Optimizer]) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name != "params"]


def _classes() -> dict[str, type[torch.optim.Optimizer]]:
    found = {name: getattr(torch.optim, name) for name in dir(torch.optim) if name != "Optimizer"}
    return {
        name: cls
        for name, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)
    }
