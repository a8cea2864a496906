"""Decides which conv2d call sites are binarized, and why the others are not."""

from collections import Counter
from typing import TYPE_CHECKING

from torch import nn
from torch.fx import GraphModule

from fxbin.config import Config
from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import CallSite, sites_of_calls
from fxbin.graph.node_info import Decision, operator_names
from fxbin.scopes.filter import ScopeFilter

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule


def select(module: "BinarizedModule", config: Config) -> dict[str, Decision]:
    """The decision about each conv2d call site of `module`, by name.

    Raises:
        ScopeError: a pattern of the config matches no node (unless `validate_scopes` is false).
    """
    scopes = ScopeFilter.from_config(config)
    nodes = operator_names(module.eval_graphs)
    modules = dict(module.named_modules(remove_duplicate=False))
    scopes.check(nodes, modules, validate=config.binarization.validate_scopes)
    names = BinarizerNames(module)
    decisions: dict[str, Decision] = {}
    for group in _groups(module):
        reasons = (_why_skipped(s, config, scopes) or names.why_not_trainable(s) for s in group)
        reason = next(filter(None, reasons), None)
        site = group[0]
        decision = (
            Decision(binarized=False, reason=reason)
            if reason
            else Decision(True, "", names.activation(site), names.weight(site))
        )
        decisions |= {name: decision for s in group for name in (s.info.name, s.info.name_in_part) if name}
    return decisions


def _groups(module: "BinarizedModule") -> list[list[CallSite]]:
    """The call sites, grouped by shared binarizers: inside islands, all calls of a part share them."""
    groups: dict[str, list[CallSite]] = {}
    for site in sites_of_calls(module, module.eval_graphs):
        groups.setdefault(site.info.name_in_part or site.info.name, []).append(site)
    return list(groups.values())


def _why_skipped(site: CallSite, config: Config, scopes: ScopeFilter) -> str | None:
    if reason := scopes.why_excluded(site.info.name):
        return reason
    if config.binarization.call_sites == "modules" and not site.info.nncf_binarizes:
        return 'call_sites is "modules" and it is not a plain nn.Conv2d'
    return site.why_not or site.info.why_unreachable or None


class BinarizerNames:
    """Chooses the qualified names of the binarizers of each call site.

    They are beside what they binarize: ``conv1.activation_binarizer`` and ``conv1.weight_binarizer``. Each
    call site has its own activation binarizer; all call sites of a weight share its binarizer.
    """

    def __init__(self, module: GraphModule) -> None:
        self._module = module
        self._taken: Counter[str] = Counter()
        self._first_path = {id(parameter): path for path, parameter in module.named_parameters()}
        self._of_weight: dict[object, str] = {}

    def activation(self, site: CallSite) -> str:
        """Qualified name of the activation binarizer of `site`; a new name at each call."""
        return self._unique(_join(site.info.owner, "activation_binarizer"))

    def weight(self, site: CallSite) -> str:
        """Qualified name of the weight binarizer of `site`; the same for the same parameter."""
        path = self._parameter_path(site)
        # A computed weight, for example by weight standardization, is identified by its last node.
        key: object = path or site.raw_w
        if key not in self._of_weight:
            name = f"{path}_binarizer" if path else _join(site.info.owner, "weight_binarizer")
            self._of_weight[key] = self._unique(name)
        return self._of_weight[key]

    def why_not_trainable(self, site: CallSite) -> str | None:
        """Why the weight of `site` cannot be trained; None if it can."""
        weight = self._weight(site)
        if not isinstance(weight, nn.Parameter) or id(weight) in self._first_path:
            return None
        return "its weight is not among the model's parameters, so it would be neither trained nor saved"

    def _parameter_path(self, site: CallSite) -> str | None:
        weight = self._weight(site)
        return self._first_path[id(weight)] if isinstance(weight, nn.Parameter) else None

    def _weight(self, site: CallSite) -> object:
        """The weight that the model holds; None if it is computed."""
        return None if site.weight_path is None else attribute(self._module, site.weight_path)

    def _unique(self, name: str) -> str:
        count = self._taken[name]
        self._taken[name] += 1
        unique = f"{name}_{count}" if count else name
        return self._unique(name) if _exists(self._module, unique) else unique


def _join(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name


def _exists(module: nn.Module, path: str) -> bool:
    try:
        attribute(module, path)
    except AttributeError:
        return False
    return True
