"""What connects the binarizers of a model that passes have inserted them into."""

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.own_code import OwnSite, is_plain_conv2d
from fxbin.binarized.state import BinarizationState, Site
from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.gradient_mean import GradientMean
from fxbin.config import Config
from fxbin.graph.call_site import CallSite, call_sites, sites_of_calls


def wire(module: BinarizedModule, config: Config) -> None:
    """Make code of the graphs of `module`, and bring its binarizers together.

    The model's own code comes to them too, they average their gradients over ranks in one message, and
    `module.binarization` switches them.
    """
    _bind_own_code(module)
    module.recompile()
    _average_together(module)
    module.binarization = BinarizationState(config, _sites(module))


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
