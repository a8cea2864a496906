"""Turns a model into a module that runs as graphs with named nodes, before any pass changes them."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from torch import nn

from fxbin.binarized.call_form import Call, check_distinguishable
from fxbin.binarized.module import BinarizedModule
from fxbin.compiler.pipeline import rewrite
from fxbin.compiler.retrace import Retracer
from fxbin.config.example_inputs import dtype_of
from fxbin.errors import TransformError
from fxbin.original.reach import HOOKS
from fxbin.passes import NameNodes
from fxbin.scopes.filter import ScopeFilter
from fxbin.scopes.naming import Names
from fxbin.tracing import Island, ops_of, trace_model, with_other_calls


def capture(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    leaf_modules: tuple[type[nn.Module], ...] = (),
    scopes: ScopeFilter | None = None,
    other_calls: Sequence[Call] = (),
) -> BinarizedModule:
    """Turn `root` itself into a module with named graphs, and return it.

    Call ``recompile()`` to generate the code of the graphs, after passes have changed them.

    Raises:
        TraceError: the inputs do not fit the model, or its code can be neither traced nor run.
        TransformError: the arguments of two example calls cannot be distinguished, or a name is invalid.
    """
    found = trace_model(root, args, dict(kwargs), leaf_modules)
    found = with_other_calls(found, root, other_calls, leaf_modules)
    check_distinguishable(found.eval_graphs, [(args, kwargs), *other_calls])
    ops = [op for graph in found.eval_graphs for node in graph.nodes for op in ops_of(node)]
    scopes = scopes or ScopeFilter()
    names = Names(root, ops, scopes.is_replaced, scopes.user_classes)
    islands = tuple(
        Island(names.scope(island.scope), path, island.reason) for path, island in found.islands.items()
    )
    unreachable = {
        address: f"the code of {names.scope(island.scope)} calls it, as plain Python: {island.reason}"
        for address, island in found.unreachable_sites.items()
    }
    hooks = {name: vars(root)[name] for name in HOOKS}
    module = BinarizedModule.from_trace(root, found, islands)
    reasons = {path: island.reason for path, island in found.islands.items()}
    module._retracer = Retracer(
        found.examples, found.other_examples, leaf_modules, names, hooks, dtype_of(module), reasons
    )
    rewrite(module, [NameNodes(names, found.sites_in_parts, unreachable)])
    return module


def check_is_apart(module: BinarizedModule, model: nn.Module) -> None:
    """Raise TransformError if graphs of `module`, traced from a copy of `model`, refer to `model` itself."""
    held = chain(model.named_modules(), model.named_parameters(), model.named_buffers())
    paths = {id(item): path for path, item in held}
    for path in (paths[id(item)] for item in vars(module).values() if id(item) in paths):
        raise TransformError(
            f"model: the code reaches {path or 'the model'} of the model itself, where a copy of the model "
            "should reach that of the copy: it looks it up in something that copy.deepcopy does not copy, "
            "such as a global variable or a weakref.WeakValueDictionary. Store it in an attribute of a module"
        )
