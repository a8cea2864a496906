"""What was binarized, what was not and why, and what that is worth: `fxbin.summary`."""

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
"""A runtime whose 1-bit kernels are known."""

_TOTALS = (
    *("binarized", "macs", "binarized_macs", "binarized_macs_share"),
    *("weight_bits", "full_precision_bits", "compression"),
)


@dataclass(frozen=True)
class Summary:
    """What `fxbin.transform` made of a model. Prints as a table; `to_dict` gives it for JSON."""

    model: str
    """Class of the model."""

    mode: str
    """Weight binarizer: ``"xnor"``."""

    stage: Stage
    """What is binarized at this moment."""

    sites: tuple[SiteReport, ...]
    """Every conv2d call site in execution order, those of other calls, then those of train mode only."""

    others: tuple[SiteReport, ...]
    """The other convolutions and the linear layers of eval mode, which stay in full precision."""

    specialisations: tuple[Specialisation, ...]
    """Values that the code depends on and that the graphs take for granted."""

    islands: tuple[Island, ...] = ()
    """Modules that run as they are, around parts that run as graphs, and why."""

    never_ran: tuple[str, ...] = ()
    """Qualified names of the conv2d modules that the example inputs did not come to: they stay as is."""

    target: Target | None = None
    """The runtime that `deployment` speaks of."""

    deployment: tuple[SiteExport, ...] = ()
    """How that runtime is going to run each binarized call site of eval mode once it is trained, and why."""

    @property
    def one_bit(self) -> int:
        """Number of call sites that `target` is going to run in 1 bit."""
        return sum(site.mode is ExportMode.ONE_BIT for site in self.deployment)

    @property
    def one_bit_macs(self) -> int:
        """Their multiply-accumulates."""
        names = {site.name for site in self.deployment if site.mode is ExportMode.ONE_BIT}
        return sum(site.macs or 0 for site in self._counted() if site.name in names)

    @property
    def binarized(self) -> int:
        """Number of binarized call sites."""
        return sum(site.binarized for site in self.sites)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example in eval mode, as far as they are known."""
        return sum(site.macs or 0 for site in self._counted())

    @property
    def binarized_macs(self) -> int:
        """Those of the binarized call sites."""
        return sum(site.macs or 0 for site in self._counted() if site.binarized)

    @property
    def binarized_macs_share(self) -> float:
        """Between 0 and 1; 0 where no multiply-accumulates are known."""
        return self.binarized_macs / self.macs if self.macs else 0.0

    @property
    def weight_bits(self) -> int:
        """Bits of the stored weights. One that several calls share counts once for each form it has."""
        stored = {(site.weight_key, site.binarized): site.weight_bits or 0 for site in self._counted()}
        return sum(stored.values())

    @property
    def full_precision_bits(self) -> int:
        """Bits of the same weights in their own dtype."""
        weights = {site.weight_key: site.full_precision_bits or 0 for site in self._counted()}
        return sum(weights.values())

    @property
    def compression(self) -> float:
        """How many times smaller the stored weights are; 1 where none are known."""
        return self.full_precision_bits / self.weight_bits if self.weight_bits else 1.0

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the call sites that no total counts, because a module kept whole hides them."""
        return tuple(site.name for site in self._counted() if site.macs is None)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, totals included."""
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
        yield from (site for site in self.sites if not (site.train_only or site.example_call))
        yield from self.others


def summary(model: nn.Module, target: Target | None = None) -> Summary:
    """What was binarized in a transformed model, and why the rest was not.

    Shapes and multiply-accumulates are those of the example inputs that it was transformed with.

    With the target ``"openvino"`` also which call sites OpenVINO is going to run in 1 bit once the
    model is trained and exported, and why not the others. That can be asked before training.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: the target is not known, or the model does not run on its `input_info`.
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
    """The conv2d call sites of eval mode, each with the first example call that runs it."""
    known: set[str] = set()
    for call, graph in enumerate(model.evaluated_graphs):
        sites = [site for site in call_sites(graph) if site.info.name not in known]
        known |= {site.info.name for site in sites}
        yield from (site_report(model, site.node, example_call=call) for site in sites)


def _train_only(model: BinarizedModule, known: set[str]) -> Iterator[SiteReport]:
    """The conv2d call sites that only graphs of train mode have."""
    known |= {info.home for node in model.graph.nodes if (info := node_info(node))}
    for graph in model.all_graphs:
        for node in graph.nodes:
            info = node_info(node)
            if _is_conv2d(node) and info is not None and info.name not in known:
                known.add(info.name)
                yield site_report(model, node, train_only=True)


def _never_ran(model: BinarizedModule, sites: list[SiteReport]) -> Iterator[str]:
    """The conv2d modules of which no graph knows."""
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
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(record).items()}
