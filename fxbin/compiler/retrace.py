"""Another graph of a model that has been transformed, for modes or dtypes unknown at that time."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.mode_graphs import ModeGraph, traced_graph
from fxbin.binarizers import Binarizer
from fxbin.compiler.pipeline import binarizing_passes
from fxbin.config.example_inputs import dtype_of
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.node_info import Decision, node_info, set_node_info
from fxbin.passes import NameNodes, run_passes
from fxbin.scopes.naming import Names
from fxbin.tracing import Entry, Example, dtypes_of, merge_extra_attributes, raise_bug, trace

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule
    from fxbin.binarized.own_code import ConvCaller
    from fxbin.binarized.part_forward import PartForward


@dataclass
class Retracer:
    """What it takes to trace a model again: how it was called, and what was made of it."""

    examples: dict[str, Example]
    """How the model and its parts are called, by qualified name."""

    other_calls: tuple[Example, ...]
    """How else the model is called."""

    leaf_modules: tuple[type[nn.Module], ...]
    names: Names
    hooks: dict[str, Any]
    """The model's own hooks, which its graphs have inside."""

    dtype: torch.dtype
    """That of the model, and of inputs that are to follow it where it is cast."""

    islands: dict[str, str] = field(default_factory=dict)
    """Why modules run as they are, by qualified name."""

    def trace(self, model: "BinarizedModule", path: str, known: list[ModeGraph], call: int) -> ModeGraph:
        """The graph of the module at `path` as its modules are now; without one, if no graph can hold that.

        It remains to be compiled.
        """
        example = self.other_calls[call - 1] if call else self.examples[path]
        example, module = example.cast(self.dtype, dtype_of(model)), model.get_submodule(path)
        entry = None
        if path:
            root, *rest = example.running
            entry = Entry(module, (replace(root, module=model), *rest))
        with torch.inference_mode(False), _as_it_was(model, self.hooks):
            try:
                found = trace(
                    *(model, example.args, example.kwargs),
                    training=None,
                    leaf_modules=self.leaf_modules,
                    islands={p: why for p, why in self.islands.items() if p != path and _is_below(p, path)},
                    entry=entry,
                )
                new = [island for island in found.islands if island not in self.islands]
                reason = f"{', '.join(new)}: {found.islands[new[0]]}" if new else ""
            except Exception as error:  # noqa: BLE001  (whatever it is, this graph cannot be made)
                raise_bug(error)
                reason = getattr(error, "reason", "") or f"{type(error).__name__}: {error}"
        if reason:
            now = {p: model.get_submodule(p).training for variant in known for p in variant.modes}
            dtypes = dtypes_of(model) if any(variant.dtypes for variant in known) else {}
            return ModeGraph(now, None, dtypes, reason=reason)
        held = {name: item for name, item in vars(model).items() if name.startswith("_traced_")}
        vars(model).update(merge_extra_attributes(model, [(found.graph, found.extra_attributes)], held))
        run_passes(found.graph, model, [NameNodes(self.names)])
        decisions = _decisions(model)
        _keep_names(model, found.graph, decisions)
        run_passes(found.graph, model, binarizing_passes(decisions, model.binarization.config))
        model.specialisations = tuple(dict.fromkeys((*model.specialisations, *found.specialisations)))
        return traced_graph({path: module.training, **found.modes}, found)


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
    """Give call sites the names that they are known by, where a layer has got another class (`parametrize`).

    They are those that the module had, in the order in which it runs them.
    """
    found: dict[str, list[CallSite]] = {}
    for site in call_sites(model, graph):
        found.setdefault(site.info.owner, []).append(site)
    for path, sites in found.items():
        caller = model.own_code.callers.get(path)
        if caller is not None and not any(site.name in known for site in sites):
            for site, before in zip(sites, caller.sites, strict=False):
                set_node_info(site.node, replace(site.info, name=before.name))


@contextmanager
def _as_it_was(model: "BinarizedModule", hooks: dict[str, Any]) -> Iterator[None]:
    """`model` with its own code, its own hooks, and without binarizers among its modules."""
    before = dict(vars(model))
    put = {"__call__": kind.__call__} if "__call__" in vars(kind := type(model)) else {}
    forwards: list[PartForward | ConvCaller] = [*model.traced_parts.values(), *model.own_code.installed]
    children = {module: dict(torch_private.modules(module)) for module in model.modules()}
    try:
        model.own_code.is_traced = True
        for name in put:
            delattr(kind, name)
        vars(model).update(hooks, forward=model.own_forward())
        for forward in forwards:
            forward.uninstall()
        for module, held in children.items():
            for name, child in held.items():
                if isinstance(child, Binarizer):
                    del torch_private.modules(module)[name]
        yield
    finally:
        model.own_code.is_traced = False
        for name, method in put.items():
            setattr(kind, name, method)
        for module, held in children.items():
            torch_private.modules(module).clear()
            torch_private.modules(module).update(held)
        for forward in forwards:
            forward.install()
        vars(model).clear()
        vars(model).update(before)
