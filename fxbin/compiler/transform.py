"""`fxbin.transform`: turns a model and a config into a model that can be trained to one bit."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from torch import nn

from fxbin.added import AddedLayer
from fxbin.binarized.call_form import Call, check_calls
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.wiring import wire
from fxbin.binarizers import Binarizer
from fxbin.compiler.capture import capture, check_is_apart
from fxbin.compiler.pipeline import binarizing_passes, rewrite
from fxbin.compiler.selection import select
from fxbin.config import Config, ConfigSource, load_config
from fxbin.config.example_inputs import given_inputs
from fxbin.errors import TransformError
from fxbin.graph.node_info import Decision
from fxbin.original.check import check_model, checked_leaf_modules
from fxbin.original.copy import copy_model
from fxbin.scopes.filter import ScopeFilter

Model = TypeVar("Model", bound=nn.Module)


def transform(
    model: Model,
    config: ConfigSource,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    other_calls: Sequence[Call] = (),
    leaf_modules: Sequence[type[nn.Module]] = (),
) -> Model:
    """Return a copy of `model` whose selected conv2d layers can be switched to one bit, stage by stage.

    Nothing is binarized yet: until binarizers are enabled, by `StagedSchedule` or
    ``model.binarization.enable``, outputs are bit for bit those of `model`, which does not change.

    The result is a `BinarizedModule` and also an instance of the class of `model`. Python has no type for
    both. Type checkers know that class, and also `BinarizedModule` after ``isinstance(x,
    fxbin.BinarizedModule)``; with the plugin `fxbin.mypy`, mypy knows both at once.

    Args:
        model: any module; its convolutions may be modules or calls of `F.conv2d`.
        config: path of a JSON5 file, a dict, or a `Config`.
        example_inputs: positional inputs to trace with; by default made from the config's `input_info`.
            Shapes matter, values do not.
        example_kwargs: keyword inputs to trace with.
        other_calls: further example calls, each as ``(args, kwargs)``: for a model with
            ``forward(x, y=None, mode="predict")`` that is ``[((x, y), {"mode": "loss"})]``. Each call gets a
            graph, with the same weights; convolutions that only these calls run can be selected as well.
            Without them, the model's own code runs for other arguments, and binarizes the convolutions that
            the first call runs.
        leaf_modules: module classes to keep whole as one node.

    Raises:
        ConfigError: the config is invalid.
        TraceError: the inputs do not fit the model, or its code can be neither traced nor run.
        ScopeError: a pattern in `ignored_scopes` or `target_scopes` matches no node.
        TransformError: the model has no conv2d, or cannot be copied.
    """
    config = load_config(config)
    for note in config.preset_notes:
        warnings.warn(note, stacklevel=2)
    check_model(model)
    _check_is_original(model)
    args, kwargs = given_inputs(model, config, example_inputs, example_kwargs)
    check_calls(other_calls)
    leaves = checked_leaf_modules(leaf_modules)
    scopes = ScopeFilter.from_config(config)
    module = capture(copy_model(model), args, kwargs, leaves, scopes, other_calls)
    check_is_apart(module, model)
    rewrite(module, binarizing_passes(_decide(module, config), config))
    wire(module, config)
    return cast("Model", module)  # its class is derived from that of `model`


def _check_is_original(model: nn.Module) -> None:
    if isinstance(model, BinarizedModule):
        raise TransformError("model: it has been transformed already; transform the original model")
    for path, module in model.named_modules():
        if isinstance(module, BinarizedModule):
            raise TransformError(
                f"model: its submodule {path} has been transformed already; transform the original model"
            )
        if isinstance(module, Binarizer | AddedLayer):
            raise TransformError(
                f"model: {path} is a {'binarizer' if isinstance(module, Binarizer) else 'layer'} of another "
                "transformed model, whose layer it is part of; use the layer of the original model"
            )


def _decide(module: BinarizedModule, config: Config) -> dict[str, Decision]:
    decisions = select(module, config)
    if not decisions:
        raise TransformError(
            f"model: {type(module).__name__} runs no conv2d in eval mode, so there is nothing to binarize"
        )
    if not any(decision.binarized for decision in decisions.values()):
        reasons = "; ".join(sorted({decision.reason for decision in decisions.values()}))
        warnings.warn(f"no conv2d is binarized: {reasons}", stacklevel=3)
    return decisions
