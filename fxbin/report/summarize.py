"""`fxbin.summary`: which call sites are binarized, why others are not, and what that saves."""

from collections.abc import Iterator
from itertools import accumulate
from typing import get_args

from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.deployment import plan_deployment
from fxbin.errors import ExportError
from fxbin.export import ExportMode, SiteExport
from fxbin.export.plan import plan_export
from fxbin.export.report import Operators
from fxbin.graph.call_site import call_sites, is_call_site, sites_of_calls
from fxbin.graph.node_info import node_info, replaced_conv2d
from fxbin.report.layer_cost import is_weighted
from fxbin.report.site import ReplacedSite, SiteReport, SiteReporter
from fxbin.report.summary import Summary
from fxbin.report.target import Target


def summary(model: nn.Module, target: Target | None = None) -> Summary:
    """Which call sites of a transformed model are binarized, and why the others are not.

    Shapes and multiply-accumulates are those of the example inputs that it was transformed with.

    With a target it also tells which call sites will run in 1 bit once the model is trained, and why not the
    others: ``"engine"`` is a model that `fxbin.deploy` returns, run by fxbin's engine in PyTorch;
    ``"onnxruntime"`` is onnxruntime with the engine and a file that `fxbin.export_onnx` writes with
    ``operators="fxbin"``; ``"openvino"`` is OpenVINO with its default file. This works before training.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: the target is unknown, or the model does not run on its `input_info`.
    """
    model = transformed(model, "summary")
    if target is not None and target not in get_args(Target):
        known = ", ".join(f'"{name}"' for name in get_args(Target))
        raise ExportError(f"target: expected one of {known}, or None, got {target!r}")
    reporter = SiteReporter(model)
    sites = [*_evaluated(reporter)]
    others = [
        reporter.report(node) for node in model.graph.nodes if is_weighted(node) and not is_call_site(node)
    ]
    sites += _train_only(reporter, {site.name for site in sites})
    return Summary(
        model=type(model).__name__,
        mode=model.binarization.config.binarization.described,
        stage=model.binarization.stage,
        sites=tuple(sites),
        others=tuple(others),
        specialisations=model.specialisations,
        islands=model.islands,
        never_ran=tuple(_never_ran(model, sites)),
        target=target,
        deployment=() if target is None else planned(model, target),
        replaced=tuple(
            ReplacedSite(info.name, info.owner, info.decision.rewrites if info.decision else ())
            for info in replaced_conv2d(model.eval_graphs)
        ),
    )


def planned(model: BinarizedModule, target: Target) -> tuple[SiteExport, ...]:
    """How `target` will run each binarized call site of `model` after training.

    Raises ExportError if the model does not run on its `input_info`.
    """
    if target != "engine":
        operators: Operators = "openvino" if target == "openvino" else "fxbin"
        return plan_export(model, all_enabled=True, operators=operators)
    return tuple(
        SiteExport(
            name, ExportMode.FLOAT if reason else ExportMode.ONE_BIT, enabled=True, reason=reason or ""
        )
        for name, reason in plan_deployment(model).items()
    )


def _evaluated(reporter: SiteReporter) -> Iterator[SiteReport]:
    """Yield the conv2d call sites of eval mode, each with the first example call that runs it."""
    graphs = reporter.model.eval_graphs
    for site in sites_of_calls(reporter.model, graphs):
        yield reporter.report(site.node, example_call=graphs.index(site.node.graph))


def _train_only(reporter: SiteReporter, known: set[str]) -> Iterator[SiteReport]:
    """Yield the conv2d call sites that only train mode has; adds their names to `known`."""
    model = reporter.model
    known |= {info.name_in_part for node in model.graph.nodes if (info := node_info(node))}
    for graph in model.all_graphs:
        for site in call_sites(model, graph):
            if site.name not in known:
                known.add(site.name)
                yield reporter.report(site.node, train_only=True)


def _never_ran(model: BinarizedModule, sites: list[SiteReport]) -> Iterator[str]:
    """Yield qualified names of the conv2d modules that appear in no graph."""
    ran = {site.owner for site in sites} | {site.weight.rpartition(".")[0] for site in sites}
    nodes = (node for graph in model.all_graphs for node in graph.nodes)
    ran |= {str(node.target) for node in nodes if node.op == "call_module"}
    ran |= {info.owner for info in replaced_conv2d(model.all_graphs)}
    ran -= {island.owner for island in model.islands}
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and ran.isdisjoint(accumulate(path.split("."), "{}.{}".format)):
            yield path
