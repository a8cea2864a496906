"""`fxbin.summary`: which call sites are binarized, why others are not, and what that saves."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal, get_args

from rich.console import RenderableType
from torch import fx, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.state import Stage
from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError
from fxbin.export import ExportMode, SiteExport
from fxbin.export.plan import plan_export
from fxbin.graph.call_site import call_sites
from fxbin.graph.node_info import node_info
from fxbin.report.layer_cost import is_weighted
from fxbin.report.site import SiteReport, site_report
from fxbin.report.table import as_text, report_table
from fxbin.tracing import Island, Specialisation

Target = Literal["openvino"]
"""A runtime for which `summary` can tell what will run in 1 bit."""

_TOTALS = (
    *("binarized", "macs", "binarized_macs", "binarized_macs_share"),
    *("weight_bits", "full_precision_bits", "compression"),
)
"""Totals in `Summary.to_dict`."""


@dataclass(frozen=True)
class Summary:
    """The result of `fxbin.transform` for a model. Prints as a table; `to_dict` gives JSON values."""

    model: str
    """Class name of the model."""

    mode: str
    """Name of the weight binarizer: ``"xnor"``."""

    stage: Stage
    """The stage at the moment: which binarizers are enabled."""

    sites: tuple[SiteReport, ...]
    """All conv2d call sites in execution order: of the first example call, of others, of train mode only."""

    others: tuple[SiteReport, ...]
    """Other convolutions and linear layers of eval mode, which stay in full precision."""

    specialisations: tuple[Specialisation, ...]
    """Python values that the model's code depends on, and that the graphs keep as constants."""

    islands: tuple[Island, ...] = ()
    """Modules that run their own code, because it cannot be traced, with the reason."""

    never_ran: tuple[str, ...] = ()
    """Qualified names of conv2d modules that the example inputs did not run; they stay in full precision."""

    target: Target | None = None
    """The runtime that `deployment` is about."""

    deployment: tuple[SiteExport, ...] = ()
    """How `target` will run each binarized call site of eval mode after training, with the reason."""

    @property
    def one_bit(self) -> int:
        """Number of call sites that `target` will run in 1 bit."""
        return sum(site.mode is ExportMode.ONE_BIT for site in self.deployment)

    @property
    def one_bit_macs(self) -> int:
        """Multiply-accumulates of the call sites that `target` will run in 1 bit."""
        names = {site.name for site in self.deployment if site.mode is ExportMode.ONE_BIT}
        return sum(site.macs or 0 for site in self._counted() if site.name in names)

    @property
    def binarized(self) -> int:
        """Number of binarized call sites."""
        return sum(site.binarized for site in self.sites)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one example in eval mode, as far as they are known."""
        return sum(site.macs or 0 for site in self._counted())

    @property
    def binarized_macs(self) -> int:
        """Multiply-accumulates of the binarized call sites."""
        return sum(site.macs or 0 for site in self._counted() if site.binarized)

    @property
    def binarized_macs_share(self) -> float:
        """Share of multiply-accumulates in binarized call sites, from 0 to 1; 0 if none are known."""
        return self.binarized_macs / self.macs if self.macs else 0.0

    @property
    def weight_bits(self) -> int:
        """Bits of all stored weights. A shared weight counts once for each form, binarized or not."""
        stored = {(site.weight_key, site.binarized): site.weight_bits or 0 for site in self._counted()}
        return sum(stored.values())

    @property
    def full_precision_bits(self) -> int:
        """Bits of all weights in their own dtype; a shared weight counts once."""
        weights = {site.weight_key: site.full_precision_bits or 0 for site in self._counted()}
        return sum(weights.values())

    @property
    def compression(self) -> float:
        """Ratio of `full_precision_bits` to `weight_bits`; 1 if no weights are known."""
        return self.full_precision_bits / self.weight_bits if self.weight_bits else 1.0

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the call sites that no total includes, because they are inside modules kept whole."""
        return tuple(site.name for site in self._counted() if site.macs is None)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values, totals included."""
        return {
            "model": self.model,
            "mode": self.mode,
            "stage": str(self.stage),
            **{name: getattr(self, name) for name in _TOTALS},
            "unknown": list(self.unknown),
            "sites": [_plain(site) for site in self.sites],
            "others": [_plain(site) for site in self.others],
            "specialisations": [
                {**_plain(found), "value": repr(found.value)} for found in self.specialisations
            ],
            "islands": [_plain(island) for island in self.islands],
            "never_ran": list(self.never_ran),
            "target": self.target,
            "deployment": [_plain(site) for site in self.deployment],
        }

    def __str__(self) -> str:
        return as_text(report_table(self))

    def __rich__(self) -> RenderableType:
        return report_table(self)

    def _counted(self) -> Iterator[SiteReport]:
        """Yield the reports that totals include."""
        yield from (site for site in self.sites if not (site.train_only or site.example_call))
        yield from self.others


def summary(model: nn.Module, target: Target | None = None) -> Summary:
    """Which call sites of a transformed model are binarized, and why the others are not.

    Shapes and multiply-accumulates are those of the example inputs that it was transformed with.

    With the target ``"openvino"`` it also tells which call sites OpenVINO will run in 1 bit once the model is
    trained and exported, and why not the others. This works before training.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: the target is unknown, or the model does not run on its `input_info`.
    """
    model = transformed(model, "summary")
    if target is not None and target not in get_args(Target):
        raise ExportError(f'target: expected "openvino" or None, got {target!r}')
    sites = [*_evaluated(model)]
    others = [
        site_report(model, node) for node in model.graph.nodes if is_weighted(node) and not _is_conv2d(node)
    ]
    sites += _train_only(model, {site.name for site in sites})
    return Summary(
        model=type(model).__name__,
        mode=model.binarization.config.binarization.mode,
        stage=model.binarization.stage,
        sites=tuple(sites),
        others=tuple(others),
        specialisations=model.specialisations,
        islands=model.islands,
        never_ran=tuple(_never_ran(model, sites)),
        target=target,
        deployment=plan_export(model, all_enabled=True) if target else (),
    )


def _evaluated(model: BinarizedModule) -> Iterator[SiteReport]:
    """Yield the conv2d call sites of eval mode, each with the first example call that runs it."""
    known: set[str] = set()
    for call, graph in enumerate(model.evaluated_graphs):
        sites = [site for site in call_sites(graph) if site.info.name not in known]
        known |= {site.info.name for site in sites}
        yield from (site_report(model, site.node, example_call=call) for site in sites)


def _train_only(model: BinarizedModule, known: set[str]) -> Iterator[SiteReport]:
    """Yield the conv2d call sites that only train mode has; adds their names to `known`."""
    known |= {info.home for node in model.graph.nodes if (info := node_info(node))}
    for graph in model.all_graphs:
        for node in graph.nodes:
            info = node_info(node)
            if _is_conv2d(node) and info is not None and info.name not in known:
                known.add(info.name)
                yield site_report(model, node, train_only=True)


def _never_ran(model: BinarizedModule, sites: list[SiteReport]) -> Iterator[str]:
    """Yield qualified names of the conv2d modules that appear in no graph."""
    ran = {site.owner for site in sites} | {site.weight.rpartition(".")[0] for site in sites}
    nodes = (node for graph in model.all_graphs for node in graph.nodes)
    ran |= {str(node.target) for node in nodes if node.op == "call_module"}
    ran -= {island.owner for island in model.islands}
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and ran.isdisjoint(accumulate(path.split("."), "{}.{}".format)):
            yield path


def _is_conv2d(node: fx.Node) -> bool:
    info = node_info(node)
    return info is not None and info.op == "conv2d"


def _plain(record: Any) -> dict[str, Any]:
    """The fields of a dataclass, with tuples as lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(record).items()}
