"""The passes that turn a named graph into a binarized one, in order."""

from collections.abc import Mapping, Sequence

from fxbin.binarized.module import BinarizedModule
from fxbin.config import Config
from fxbin.graph.node_info import Decision
from fxbin.passes import (
    InlineConv2d,
    InsertActivationBinarizers,
    InsertWeightBinarizers,
    MarkCallSites,
    Pass,
    run_passes,
)


def binarizing_passes(decisions: Mapping[str, Decision], config: Config) -> list[Pass]:
    """The passes that binarize named graphs, given the decision about each call site by name."""
    section = config.binarization
    chosen = (decision for decision in decisions.values() if decision.binarized)
    return [
        MarkCallSites(decisions),
        InlineConv2d(frozenset(decision.activation.rpartition(".")[0] for decision in chosen)),
        InsertWeightBinarizers(section.weights.mode or section.mode, section.params, section.weights),
        InsertActivationBinarizers(
            section.activations.mode or section.mode,
            section.params,
            config.lr_multiplier,
            section.activations,
        ),
    ]


def rewrite(module: BinarizedModule, passes: Sequence[Pass]) -> None:
    """Run `passes` on each graph of `module`; call ``module.recompile()`` to generate the code again."""
    for graph in module.all_graphs:
        run_passes(graph, module, passes)
