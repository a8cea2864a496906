"""The names that `ignored_scopes` and `target_scopes` select by: `fxbin.node_names`."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.config import ConfigSource, load_config
from fxbin.config.example_inputs import given_inputs
from fxbin.graph.node_info import operator_names
from fxbin.original.check import check_model, checked_leaf_modules
from fxbin.scopes.filter import ScopeFilter
from fxbin.scopes.naming import Names
from fxbin.tracing import operators


def node_names(
    model: nn.Module,
    config: ConfigSource,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    leaf_modules: Sequence[type[nn.Module]] = (),
) -> list[tuple[str, str]]:
    """The name of every node, as `ignored_scopes` refers to it, with its operator, in execution order.

    Arguments are as in `transform`; `model` may be a transformed one. Raises ConfigError or TraceError, as
    `transform` does.
    """
    if isinstance(model, BinarizedModule):
        return [(name, _op(name)) for name in dict.fromkeys(operator_names(model.eval_graphs))]
    config = load_config(config)
    check_model(model)
    args, kwargs = given_inputs(model, config, example_inputs, example_kwargs)
    ops = operators(model, args, dict(kwargs), leaf_modules=checked_leaf_modules(leaf_modules))
    scopes = ScopeFilter.from_config(config)
    return Names(model, ops, scopes.is_replaced, scopes.user_classes).listing(ops)


def _op(name: str) -> str:
    return name.rpartition("/")[2].rpartition("_")[0]
