"""Traces further graphs of a transformed model, for modes or dtypes that it did not have in the transform."""

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.added import AddedLayer
from fxbin.binarized.mode_graphs import ModeGraph, one_trace_at_a_time, traced_graph
from fxbin.binarizers import Binarizer
from fxbin.compiler.pipeline import binarizing_passes
from fxbin.config.example_inputs import dtype_of
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.node_info import Decision, node_info, set_node_info
from fxbin.passes import NameNodes, run_passes
from fxbin.scopes.naming import Names
from fxbin.tracing import Entry, Example, Trace, dtypes_of, merge_extra_attributes, raise_bug, trace

if TYPE_CHECKING:
    from fxbin.binarized.direct_calls import DirectCalls
    from fxbin.binarized.module import BinarizedModule
    from fxbin.binarized.own_code import ConvCaller
    from fxbin.binarized.part_forward import PartForward


@dataclass
class Retracer:
    """Traces a transformed model again, with the example calls, names and hooks of the transform."""

    examples: dict[str, Example]
    """The example calls of the model and its parts, by qualified name."""

    other_calls: tuple[Example, ...]
    """The further example calls of the model."""

    leaf_modules: tuple[type[nn.Module], ...]
    """Classes of modules that are kept whole."""

    names: Names
    """The names of the operators of the model."""

    hooks: dict[str, Any]
    """The hooks that the model had before the transform, which its graphs contain."""

    dtype: torch.dtype
    """Dtype of the model in the transform; inputs of this dtype follow the model if it is cast."""

    islands: dict[str, str] = field(default_factory=dict)
    """The islands by qualified name, with the reasons."""

    def trace(self, model: "BinarizedModule", path: str, known: list[ModeGraph], call: int) -> ModeGraph:
        """Trace the module at `path` in the current state of its modules, with example call number `call`.

        The result is not compiled yet. It has no graph, but a reason, if no graph can hold the code.
        """
        found = self._traced(model, path, self.other_calls[call - 1] if call else self.examples[path])
        if isinstance(found, str):
            now = {p: model.get_submodule(p).training for variant in known for p in variant.modes}
            dtypes = dtypes_of(model) if any(variant.dtypes for variant in known) else {}
            return ModeGraph(now, None, dtypes, reason=found)
        held = {name: item for name, item in vars(model).items() if name.startswith("_traced_")}
        vars(model).update(merge_extra_attributes(model, [(found.graph, found.extra_attributes)], held))
        run_passes(found.graph, model, [NameNodes(self.names)])
        decisions = _decisions(model)
        _keep_names(model, found.graph, decisions)
        run_passes(found.graph, model, binarizing_passes(decisions, model.binarization.config))
        model.specialisations = tuple(dict.fromkeys((*model.specialisations, *found.specialisations)))
        return traced_graph({path: model.get_submodule(path).training, **found.modes}, found)

    def _traced(self, model: "BinarizedModule", path: str, example: Example) -> Trace | str:
        """The trace of the module at `path`, or the reason why no graph can hold its code."""
        example, entry = example.cast(self.dtype, dtype_of(model)), None
        if path:
            root, *rest = example.running
            entry = Entry(model.get_submodule(path), (replace(root, module=model), *rest))
        with torch.inference_mode(False), _untransformed(model, self.hooks):
            try:
                found = trace(
                    *(model, example.args, example.kwargs),
                    training=None,
                    leaf_modules=self.leaf_modules,
                    islands={p: why for p, why in self.islands.items() if p != path and _is_below(p, path)},
                    entry=entry,
                )
            except Exception as error:  # noqa: BLE001  (whatever it is, this graph cannot be made)
                raise_bug(error)
                return getattr(error, "reason", "") or f"{type(error).__name__}: {error}"
        new = [island for island in found.islands if island not in self.islands]
        return f"{', '.join(new)}: {found.islands[new[0]]}" if new else found


def _is_below(path: str, parent: str) -> bool:
    return not parent or path.startswith(f"{parent}.")


def _decisions(model: "BinarizedModule") -> dict[str, Decision]:
    decisions: dict[str, Decision] = {}
    for graph in model.all_graphs:
        for info in map(node_info, graph.nodes):
            if info is not None and info.decision is not None:
                decisions |= {name: info.decision for name in (info.name, info.name_in_part) if name}
    return decisions


def _keep_names(model: "BinarizedModule", graph: fx.Graph, known: Collection[str]) -> None:
    """Give call sites of a layer their previous names, which have others in `graph`.

    They do if the layer has got another class, as by `parametrize`, or if other code than that of its caller
    runs it: ``block.forward = block.conv.forward``. The call sites of a layer keep their order.
    """
    callers = model.own_code.callers
    found: dict[str, list[CallSite]] = {}
    for site in call_sites(model, graph):
        owner = (site.weight_path or "").rpartition(".")[0]
        is_moved = site.name not in known and owner in callers
        found.setdefault(owner if is_moved else site.info.owner, []).append(site)
    for path, sites in found.items():
        of_layer = callers[path].sites if path in callers else ()
        new = [site for site in sites if site.name not in known]
        if len(of_layer) == 1 or len(new) == len(sites):
            before = of_layer * len(new) if len(of_layer) == 1 else of_layer
            for site, named in zip(new, before, strict=False):
                set_node_info(site.node, replace(site.info, name=named.name))


@contextmanager
def _untransformed(model: "BinarizedModule", hooks: dict[str, Any]) -> Iterator[None]:
    """Give `model` its original code and hooks, without added layers; restore everything at the end."""
    before = dict(vars(model))
    put = {"__call__": kind.__call__} if "__call__" in vars(kind := type(model)) else {}
    replaced: list[PartForward | ConvCaller | DirectCalls] = [
        *model.traced_parts.values(), *model.own_code.installed, *model.direct_calls
    ]  # fmt: skip
    children = {module: dict(torch_private.modules(module)) for module in model.modules()}
    try:
        for name in put:
            delattr(kind, name)
        vars(model).update(hooks, forward=_for_this_thread(model))
        for each in replaced:
            each.uninstall()
        for module, held in children.items():
            for name, child in held.items():
                if isinstance(child, Binarizer | AddedLayer):
                    del torch_private.modules(module)[name]
        yield
    finally:
        for name, method in put.items():
            setattr(kind, name, method)
        for module, held in children.items():
            torch_private.modules(module).clear()
            torch_private.modules(module).update(held)
        for each in replaced:
            each.install()
        vars(model).clear()
        vars(model).update(before)


def _for_this_thread(model: "BinarizedModule") -> Callable[..., Any]:
    """The forward of the original in this thread; in others, that of `model` once it has been traced."""
    own, tracing = model.own_forward(), threading.get_ident()

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == tracing:
            return own(*args, **kwargs)
        with one_trace_at_a_time:
            pass
        return type(model).forward(model, *args, **kwargs)

    return forward
