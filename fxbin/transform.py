"""The compiler: from a model and a config to a model that trains to one bit."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.gradient_mean import GradientMean
from fxbin.call_form import Call, check_told_apart
from fxbin.call_site import CallSite, call_sites, sites_of_calls
from fxbin.config import Config, load_config
from fxbin.errors import TransformError
from fxbin.example_inputs import dtype_of
from fxbin.example_inputs import example_inputs as inputs_from_config
from fxbin.model_check import check_model, checked_leaf_modules
from fxbin.model_copy import copy_model
from fxbin.module import BinarizedModule
from fxbin.node_info import Decision, node_info
from fxbin.own_code import OwnSite, is_plain_conv2d
from fxbin.passes import NameNodes
from fxbin.retrace import Retracer, binarizing_passes
from fxbin.scopes.filter import ScopeFilter
from fxbin.scopes.naming import Names
from fxbin.selection import select
from fxbin.state import BinarizationState, Site
from fxbin.tracing import Island, operators, ops_of, trace_model, with_other_calls
from fxbin.tracing.reach import HOOKS

ConfigSource = Config | Mapping[str, Any] | str | Path


def transform(
    model: nn.Module,
    config: ConfigSource,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    other_calls: Sequence[Call] = (),
    leaf_modules: Sequence[type[nn.Module]] = (),
) -> BinarizedModule:
    """A copy of `model` whose selected conv2d layers can be switched to one bit, stage by stage.

    Nothing is binarized yet: until a stage is switched on (`StagedSchedule`, or
    ``model.binarization.enable``), outputs are bit for bit those of `model`, which is left alone.

    Args:
        model: any module; its convolutions may be modules or calls of `F.conv2d`.
        config: path of a JSON5 file, a dict, or a `Config`.
        example_inputs: positional inputs to trace with; by default made from the config's `input_info`.
            Shapes matter, values do not.
        example_kwargs: keyword inputs to trace with.
        other_calls: how else the model is called, each as ``(args, kwargs)``: for a model with
            ``forward(x, y=None, mode="predict")`` that is ``[((x, y), {"mode": "loss"})]``. Each call has a
            graph, over one set of weights; convolutions that only they run are selected, too. Without
            them the model's own code runs for other arguments, with what the first call runs binarized.
        leaf_modules: module classes to keep whole instead of looking inside.

    Raises:
        ConfigError: the config is invalid.
        TraceError: the inputs do not fit the model, or its code cannot be followed.
        ScopeError: a pattern in `ignored_scopes` or `target_scopes` matches no node.
        TransformError: the model has no conv2d, or cannot be copied.
    """
    config = load_config(config)
    check_model(model)
    args, kwargs = _inputs(model, config, example_inputs, example_kwargs)
    _check_calls(other_calls)
    leaves = checked_leaf_modules(leaf_modules)
    scopes = ScopeFilter.from_config(config)
    module = capture(copy_model(model), args, kwargs, leaves, scopes, other_calls, compiles=False)
    _check_is_apart(module, model)
    decisions = _decide(module, config)
    module.rewrite_graphs(binarizing_passes(decisions, config), compiles=False)
    _bind_own_code(module)
    module.recompile()
    _average_together(module)
    module.binarization = BinarizationState(config, _sites(module))
    return module


def capture(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    leaf_modules: tuple[type[nn.Module], ...] = (),
    scopes: ScopeFilter | None = None,
    other_calls: Sequence[Call] = (),
    *,
    compiles: bool = True,
) -> BinarizedModule:
    """`root` as a module with named graphs, before any change. It gives up its parameters."""
    found = trace_model(root, args, dict(kwargs), leaf_modules)
    found = with_other_calls(found, root, other_calls, leaf_modules)
    check_told_apart(found.evaluated, [(args, kwargs), *other_calls])
    ops = [op for graph in found.evaluated for node in graph.nodes for op in ops_of(node)]
    scopes = scopes or ScopeFilter()
    names = Names(root, ops, scopes.is_replaced, scopes.user_classes)
    islands = tuple(
        Island(names.scope(island.scope), path, island.reason) for path, island in found.islands.items()
    )
    stranded = {
        address: f"the code of {names.scope(island.scope)} calls it, which runs as it is: {island.reason}"
        for address, island in found.stranded.items()
    }
    hooks = {name: vars(root)[name] for name in HOOKS}
    module = BinarizedModule.from_trace(root, found, islands)
    reasons = {path: island.reason for path, island in found.islands.items()}
    module._retracer = Retracer(
        found.examples, found.other_examples, leaf_modules, names, hooks, dtype_of(module), reasons
    )
    module.rewrite_graphs([NameNodes(names, found.homes, stranded)], compiles=compiles)
    return module


def _check_is_apart(module: BinarizedModule, model: nn.Module) -> None:
    """Raise TransformError if graphs of `module`, made from a copy of `model`, refer to `model` itself."""
    held = chain(model.named_modules(), model.named_parameters(), model.named_buffers())
    paths = {id(item): path for path, item in held}
    for path in (paths[id(item)] for item in vars(module).values() if id(item) in paths):
        raise TransformError(
            f"model: the code reaches {path or 'the model'} of the model itself, where a copy of the model "
            "should reach that of the copy: it looks it up in something that copy.deepcopy leaves as it is, "
            "such as a global variable or a weakref.WeakValueDictionary. Hold it in an attribute of a module"
        )


def node_names(
    model: nn.Module,
    config: ConfigSource,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    leaf_modules: Sequence[type[nn.Module]] = (),
) -> list[tuple[str, str]]:
    """(name, operator) of every node in execution order, as `ignored_scopes` knows them.

    `model` may be a transformed one. Raises ConfigError or TraceError, as `transform` does.
    """
    if isinstance(model, BinarizedModule):
        infos = [node_info(node) for graph in model.evaluated_graphs for node in graph.nodes]
        names = [name for info in infos if info is not None for name in info.names]
        return [(name, _op(name)) for name in dict.fromkeys(names)]
    config = load_config(config)
    check_model(model)
    args, kwargs = _inputs(model, config, example_inputs, example_kwargs)
    ops = operators(model, args, dict(kwargs), leaf_modules=checked_leaf_modules(leaf_modules))
    scopes = ScopeFilter.from_config(config)
    return Names(model, ops, scopes.is_replaced, scopes.user_classes).listing(ops)


def _op(name: str) -> str:
    return name.rpartition("/")[2].rpartition("_")[0]


def _inputs(
    model: nn.Module, config: Config, args: tuple[Any, ...] | None, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if args is None and kwargs is None:
        return inputs_from_config(config, model)
    if args is not None and not isinstance(args, tuple):
        raise TransformError(
            f"example_inputs: expected a tuple of positional inputs, got {type(args).__name__}; "
            "write (x,) for one input"
        )
    return args or (), kwargs or {}


def _check_calls(calls: Sequence[Call]) -> None:
    for index, call in enumerate(calls):
        match call:
            case (tuple(), Mapping()):
                continue
        raise TransformError(
            f"other_calls[{index}]: expected a tuple of positional inputs and a dict of keyword inputs, such "
            f'as ((x, y), {{"mode": "loss"}}), got {_kinds(call)}'
        )


def _kinds(call: Any) -> str:
    return (
        f"({', '.join(type(item).__name__ for item in call)})"
        if isinstance(call, tuple)
        else type(call).__name__
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


def _sites(module: BinarizedModule) -> list[Site]:
    sites = []
    for site in sites_of_calls(module.evaluated_graphs):
        decision = site.info.decision
        if decision is not None and decision.binarized:
            activation = module.get_submodule(decision.activation)
            weight = module.get_submodule(decision.weight)
            assert isinstance(activation, ActivationBinarizer)
            assert isinstance(weight, WeightBinarizer)
            sites.append(Site(site.info.name, activation, weight))
    return sites


def _bind_own_code(module: BinarizedModule) -> None:
    """Let the model's own code come to the binarizers, too."""
    found: dict[str, dict[str, OwnSite]] = {}
    for site in sites_of_calls(module.evaluated_graphs):
        # Around islands all calls of one part have the same binarizers: there they are one.
        key = site.info.home or site.info.name
        found.setdefault(site.info.owner, {}).setdefault(key, _own_site(module, site))
    binarized = [path for path, sites in found.items() if any(site.activation for site in sites.values())]
    # Convolutions inside of a module that calls `F.conv2d` itself must not pass for one of its own.
    has_functions = not all(is_plain_conv2d(module.get_submodule(path)) for path in binarized)
    for path in found if has_functions else binarized:
        module.own_code.add(module, path, found[path].values(), _counts(module, path))


def _counts(module: BinarizedModule, path: str) -> set[int]:
    """How many call sites of the module at `path` each example call runs."""
    sites = [[s.info for s in call_sites(graph) if s.info.owner == path] for graph in module.evaluated_graphs]
    return {len({info.home or info.name for info in of_call}) for of_call in sites}


def _own_site(module: BinarizedModule, site: CallSite) -> OwnSite:
    decision = site.info.decision
    if decision is None or not decision.binarized:
        return OwnSite(site.info.name, None, None)
    activation, weight = map(module.get_submodule, (decision.activation, decision.weight))
    assert isinstance(activation, Binarizer)
    assert isinstance(weight, Binarizer)
    return OwnSite(site.info.name, activation, weight, (decision.activation, decision.weight))


def _average_together(module: BinarizedModule) -> None:
    """One object for all binarizers, so that their gradients go to the other ranks in one message."""
    gradient_mean = GradientMean()
    for binarizer in module.modules():
        if isinstance(binarizer, Binarizer):
            binarizer.share_gradient_mean(gradient_mean)
    # Code that no graph can hold calls parts as often as content says, on each rank as often as its own says.
    in_parts = {
        node.target for part in module.traced_parts.values() for graph in part.graphs for node in graph.nodes
    }
    for path, binarizer in module.named_modules():
        if isinstance(binarizer, ActivationBinarizer):
            binarizer.starts_alone = path in in_parts
