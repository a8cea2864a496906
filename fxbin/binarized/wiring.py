"""Connects the binarizers that passes have inserted into the graphs of a model."""

from collections import Counter

from torch import fx

from fxbin.binarized.direct_calls import direct_calls
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.own_code import Kernel, SiteBinarizers
from fxbin.binarized.state import BinarizationState, Site
from fxbin.binarized.weight_source import computed_by
from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.gradient_mean import GradientMean
from fxbin.config import Config
from fxbin.graph.attribute import submodule_at
from fxbin.graph.call_site import CallSite, call_sites, sites_of_calls
from fxbin.graph.node_info import SiteRewrite, replaced_conv2d
from fxbin.original.plain_conv2d import is_plain_conv2d
from fxbin.tracing import TensorSpec, spec_of


def wire(module: BinarizedModule, config: Config) -> None:
    """Generate the code of the graphs of `module`, and connect its binarizers.

    Afterwards the model's own code uses them as well, they average their gradients over ranks in one message,
    and `module.binarization` switches them.

    Raises:
        TransformError: a rewrite has changed graphs of code that cannot always run as graphs.
    """
    _bind_own_code(module)
    module.recompile()
    module.check_runs_as_graphs()
    _average_together(module)
    module.binarization = BinarizationState(config, _sites(module), _rewrites(module))


def _sites(module: BinarizedModule) -> list[Site]:
    """The binarized call sites of eval mode, in execution order."""
    sites = []
    for site in sites_of_calls(module, module.eval_graphs):
        decision = site.selected
        if decision is not None:
            activation = submodule_at(module, decision.activation)
            weight = submodule_at(module, decision.weight)
            assert isinstance(activation, ActivationBinarizer)
            assert isinstance(weight, WeightBinarizer)
            sites.append(Site(site.info.name, activation, weight))
    return sites


def _rewrites(module: BinarizedModule) -> dict[str, tuple[SiteRewrite, ...]]:
    """What each rewrite has done at each call site that it is about, by name."""
    infos = [*replaced_conv2d(module.eval_graphs)]
    infos += [site.info for site in sites_of_calls(module, module.eval_graphs)]
    decisions = {info.name: info.decision for info in infos}
    return {name: each.rewrites for name, each in decisions.items() if each is not None and each.rewrites}


def _bind_own_code(module: BinarizedModule) -> None:
    """Let the model's own code use the binarizers as well."""
    found: dict[str, dict[str, SiteBinarizers]] = {}
    for site in sites_of_calls(module, module.eval_graphs):
        decision = site.info.decision
        if decision is not None and decision.is_added:
            continue  # own code does not run it
        # Around islands all calls of one part share binarizers, so they count as one call site.
        key = site.info.name_in_part or site.info.name
        found.setdefault(site.info.owner, {}).setdefault(key, _site_binarizers(module, site))
    for info in replaced_conv2d(module.eval_graphs):
        assert info.decision is not None
        kernel = Kernel((module.get_submodule(info.owner),), "weight")
        replaced = SiteBinarizers(info.name, None, None, kernel=kernel, rewrites=info.decision.changes)
        found[info.owner] = {info.name: replaced}
    binarized = [
        path
        for path, sites in found.items()
        if any(site.activation or site.rewrites for site in sites.values())
    ]
    # Modules in full precision are needed too, if there are functions: convolutions inside of a module that
    # calls `F.conv2d` itself must not count as calls of that module.
    has_functions = not all(is_plain_conv2d(module.get_submodule(path)) for path in binarized)
    counts = [_counts(module, graph) for graph in module.eval_graphs]
    for path in found if has_functions else binarized:
        module.own_code.add(module, path, found[path].values(), {of_call[path] for of_call in counts})
    module.direct_calls = direct_calls(module, module.own_code)
    for direct in module.direct_calls:
        direct.install()


def _counts(module: BinarizedModule, graph: fx.Graph) -> Counter[str]:
    """The number of call sites that `graph` runs of each module, by qualified name."""
    infos = [site.info for site in call_sites(module, graph)]
    return Counter(owner for owner, _ in {(info.owner, info.name_in_part or info.name) for info in infos})


def _site_binarizers(module: BinarizedModule, site: CallSite) -> SiteBinarizers:
    decision, kernel = site.selected, _kernel(module, site)
    changes = site.info.decision.changes if site.info.decision is not None else ()
    if decision is None:
        return SiteBinarizers(site.info.name, None, None, kernel=kernel, rewrites=changes)
    places = (decision.activation, decision.weight)
    activation, weight = (submodule_at(module, place) for place in places)
    assert isinstance(activation, Binarizer)
    assert isinstance(weight, Binarizer)
    return SiteBinarizers(site.info.name, activation, weight, places, kernel, changes)


def _kernel(module: BinarizedModule, site: CallSite) -> Kernel:
    if not site.is_function:
        return Kernel((module.get_submodule(str(site.node.target)),), "weight")
    spec, path = spec_of(site.raw_w), site.weight_path
    fetched = [node for node in computed_by(site.node.graph, site.raw_w) if node.op == "get_attr"]
    owners = dict.fromkeys(str(node.target).rpartition(".")[0] for node in fetched)
    return Kernel(
        tuple(map(module.get_submodule, owners)),
        "" if path is None else path.rpartition(".")[2],
        tuple(spec.shape) if isinstance(spec, TensorSpec) else (),
    )


def _average_together(module: BinarizedModule) -> None:
    """Let all binarizers share one `GradientMean`, so that their gradients are averaged in one message."""
    gradient_mean = GradientMean()
    # Code that cannot be traced may call a part depending on data, so ranks may call it at other times.
    in_parts = {
        node.target for part in module.traced_parts.values() for graph in part.graphs for node in graph.nodes
    }
    for path, binarizer in module.named_modules():
        if isinstance(binarizer, Binarizer):
            binarizer.share_gradient_mean(gradient_mean)
        if isinstance(binarizer, ActivationBinarizer):
            binarizer.starts_alone = path in in_parts
