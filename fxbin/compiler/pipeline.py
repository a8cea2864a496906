"""The passes that turn a named graph into a binarized one, in order."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fxbin.binarized.module import BinarizedModule
from fxbin.config import Config
from fxbin.config.preset import rewrites_of_preset
from fxbin.graph.node_info import Decision
from fxbin.passes import (
    AddShortcuts,
    InlineConv2d,
    InsertActivationBinarizers,
    InsertHardtanh,
    InsertRPReLU,
    InsertWeightBinarizers,
    MarkCallSites,
    NormBeforeBinarize,
    Pass,
    PoolBeforeDownsampling,
    ReplaceStem,
    Rewrite,
    run_passes,
)


def binarizing_passes(decisions: Mapping[str, Decision], config: Config) -> list[Pass]:
    """The passes that binarize named graphs, given the decision about each call site by name.

    Those that rewrite the network come first, as binarizers belong to the network that results.
    """
    section = config.binarization
    chosen = (decision for decision in decisions.values() if decision.binarized)
    return [
        MarkCallSites(decisions),
        *rewrites(section.rewrites, rewrites_of_preset(config.preset)),
        InlineConv2d(frozenset(decision.activation.rpartition(".")[0] for decision in chosen)),
        InsertWeightBinarizers(section.weights_mode, section.params, section.weights),
        InsertActivationBinarizers(
            section.activations_mode,
            section.params,
            config.lr_multiplier,
            section.activations,
        ),
    ]


def rewrites(names: Collection[str], of_preset: Collection[str] = ()) -> list[Rewrite[Any]]:
    """The passes of `compression.rewrites`, in the order in which they are carried out."""
    known: tuple[type[Rewrite[Any]], ...] = (
        ReplaceStem,
        PoolBeforeDownsampling,
        AddShortcuts,
        InsertRPReLU,
        InsertHardtanh,
        NormBeforeBinarize,
    )
    return [each(is_of_preset=each.key in of_preset) for each in known if each.key in names]


def rewrite(module: BinarizedModule, passes: Sequence[Pass]) -> None:
    """Run `passes` on each graph of `module`; call ``module.recompile()`` to generate the code again."""
    graphs = module.all_graphs
    if not any(isinstance(each, Rewrite) for each in passes):
        for graph in graphs:
            run_passes(graph, module, passes)
        return
    # Pass by pass, as a rewrite has to see all graphs before it changes any of them.
    shown = module.graph if module.is_shown_only else None
    for position, each in enumerate(passes):
        if isinstance(each, Rewrite):
            each.decide([graph for graph in graphs if graph is not shown], module, shown)
        for graph in graphs:
            run_passes(graph, module, [each], after=passes[:position])
