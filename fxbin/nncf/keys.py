"""The keys under which NNCF stores a binarized model in its state_dict.

Each plain `nn.Conv2d` that NNCF replaced has, after its own entries,

    <conv>.nncf_padding_value              float32 (1,), 0
    <conv>.pre_ops.0.op.enabled            its weight binarizer
    <conv>.pre_ops.1.op.scale              its activation binarizer; also threshold, enabled and
                                           scale_initialized

and the same again as ``pre_ops.2`` and ``pre_ops.3`` for a second call, and so on. The numbers follow the
order in which the operations were added, on which a reader must not rely.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import ActivationBinarizer, Binarizer, ComposedWeightBinarizer
from fxbin.graph.call_site import CallSite, call_sites, sites_of_calls
from fxbin.graph.node_info import operator_names

PADDING_VALUE = "nncf_padding_value"
"""Name of an entry of each convolution that NNCF replaced; always 0 for binarization."""

PRE_OP = re.compile(r"(?P<conv>.*)\.pre_ops\.(?P<number>\d+)\.op\.(?P<entry>\w+)")
"""Key of an entry of a binarizer."""

WRAPPERS = frozenset({"module", "nncf_module"})
"""Attributes under which DataParallel, DistributedDataParallel, and NNCF before 2.5, hold a model."""

WEIGHT_ENTRIES = ("enabled",)
"""Entries of a weight binarizer."""

ACTIVATION_ENTRIES = ("scale", "threshold", "enabled", "scale_initialized")
"""Entries of an activation binarizer."""


@dataclass(frozen=True)
class Entry:
    """One entry of NNCF's state_dict."""

    nncf: str
    """NNCF's key; operations are numbered weight, activation, weight, activation, ..."""

    own: str | None
    """fxbin's key of the same tensor; None for `nncf_padding_value`, which fxbin does not have."""

    groups: int = 1
    """For a threshold: how often NNCF's ``(1, in / groups, 1, 1)`` repeats in our ``(1, in, 1, 1)``."""

    @property
    def is_flag(self) -> bool:
        """Whether it is a flag of a binarizer: `enabled` or `scale_initialized`."""
        found = PRE_OP.fullmatch(self.nncf)
        return found is not None and found["entry"] in ActivationBinarizer.flags


def unlike_nncf(model: BinarizedModule) -> list[str]:
    """Sentences about parts of the binarizers of `model` that NNCF does not have."""
    section = model.binarization.config.binarization
    sites = model.binarization.sites.values()
    problems = []
    if not all(site.activation.is_nncf for site in sites):
        described = section.activations.described or f"activation binarizers of mode {section.mode!r}"
        problems.append(f"compression.activations: NNCF has no {described}")
    if any(isinstance(site.weight, ComposedWeightBinarizer) for site in sites):
        problems.append(f"compression.weights: NNCF has no {section.weights.described}")
    return problems


def entries(model: BinarizedModule) -> list[Entry]:
    """The entries that NNCF's state_dict of `model` would have, in NNCF's order."""
    modules = dict(model.named_modules(remove_duplicate=False))
    convs, replaced = _sites_by_conv(model), _replaced_places(model)
    found: list[Entry] = []
    previous = ""
    for key in [*model.state_dict(), ""]:
        path = key.rpartition(".")[0]
        if isinstance(modules[path], Binarizer):
            continue
        # NNCF's own entries of a convolution come after all others.
        if path != previous and previous in replaced and modules[previous] in convs:
            found += _added(previous, modules[previous], convs[modules[previous]])
        previous = path
        if key:
            found.append(Entry(key, key))
    return found


def foreign_sites(model: BinarizedModule) -> dict[str, str]:
    """Binarized call sites that NNCF would not binarize, such as calls of `F.conv2d`: name to reason."""
    of_first_call = {site.info.name for site in call_sites(model, model.graph)}
    found = {}
    for site in sites_of_calls(model, model.eval_graphs):
        if site.selected is None:
            continue
        if not site.info.nncf_binarizes:
            found[site.info.name] = "NNCF binarizes plain nn.Conv2d only"
        elif site.info.name not in of_first_call:
            found[site.info.name] = "only another example call runs it, and NNCF knows one call of a model"
    return found


def canonical(keys: Iterable[str]) -> dict[str, str]:
    """A file's `keys` by the key that `entries` has for each, without wrappers.

    Operations are renumbered, weight before activation, whatever their order in the file.
    """
    bare = bare_keys(keys)
    order = _new_numbers(bare)
    return {_renumbered(short, order): key for short, key in bare.items()}


def bare_keys(keys: Iterable[str]) -> dict[str, str]:
    """`keys` by their form without the components that wrappers add.

    If that made two keys equal, because the model itself has a module of such a name, only components with
    which all keys begin are removed.
    """
    keys = list(keys)
    bare = {without_wrappers(key): key for key in keys}
    if len(bare) == len(keys):
        return bare
    around = _around_all(keys)
    return {key.removeprefix(around): key for key in keys}


def without_wrappers(key: str) -> str:
    """`key` without the components that wrappers add.

    >>> without_wrappers("module.nncf_module.layer1.0.conv1.weight")
    'layer1.0.conv1.weight'
    """
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _around_all(keys: list[str]) -> str:
    """The wrappers with which all `keys` begin, ``"module."``; empty if there are none."""
    first = {key.partition(".")[0] for key in keys}
    if len(first) != 1 or not first <= WRAPPERS:
        return ""
    around = f"{first.pop()}."
    return around + _around_all([key.removeprefix(around) for key in keys])


def _added(path: str, conv: nn.Module, sites: list[CallSite]) -> Iterator[Entry]:
    """Yield the entries that NNCF adds to the convolution at `path`."""
    assert isinstance(conv, nn.Conv2d)
    yield Entry(f"{path}.{PADDING_VALUE}", None)
    decisions = [site.selected for site in sites if site.info.nncf_binarizes and site.selected is not None]
    for number, decision in enumerate(decisions):
        for entry in WEIGHT_ENTRIES:
            yield Entry(f"{path}.pre_ops.{2 * number}.op.{entry}", f"{decision.weight}.{entry}")
        for entry in ACTIVATION_ENTRIES:
            groups = conv.groups if entry == "threshold" else 1
            yield Entry(
                f"{path}.pre_ops.{2 * number + 1}.op.{entry}", f"{decision.activation}.{entry}", groups
            )


def _sites_by_conv(model: BinarizedModule) -> dict[nn.Module, list[CallSite]]:
    """The call sites of each convolution that NNCF would replace, in the order in which NNCF handles them."""
    nodes = operator_names([model.graph])
    # NNCF sorts nodes by "<number> <name> <operator>" as text, so that node 10 comes before node 9.
    numbers = {name: f"{number} {name}" for number, name in enumerate(nodes)}
    found: dict[nn.Module, list[CallSite]] = {}
    for site in sorted(call_sites(model, model.graph), key=lambda site: numbers.get(site.info.name, "")):
        module = model.get_submodule(site.info.owner)
        if type(module) is nn.Conv2d and _has_prefix(site.info.scope):
            of_conv = found.setdefault(module, [])
            # In NNCF's iteration modules, such as its RNNs, all iterations are one node.
            if site.info.name not in [other.info.name for other in of_conv]:
                of_conv.append(site)
    return found


def _has_prefix(scope: str) -> bool:
    """Whether the class of the innermost module is ``NNCFConv2d``."""
    return scope.rpartition("Conv2d[")[0].endswith("NNCF")


def _replaced_places(model: nn.Module) -> set[str]:
    """Paths at which NNCF replaces modules: the first one, if a parent has several names for a module."""
    places, pending = set(), [("", model)]
    while pending:
        path, module = pending.pop()
        places.add(path)
        pending += [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
    return places


def _new_numbers(keys: Iterable[str]) -> dict[tuple[str, str], int]:
    """The new number of each operation, by convolution and old number."""
    operations: dict[str, dict[int, set[str]]] = {}
    for key in keys:
        if found := PRE_OP.fullmatch(key):
            of_conv = operations.setdefault(found["conv"], {})
            of_conv.setdefault(int(found["number"]), set()).add(found["entry"])
    numbers: dict[tuple[str, str], int] = {}
    for conv, of_conv in operations.items():
        counts = [0, 0]
        for old in sorted(of_conv):
            kind = int(of_conv[old] != set(WEIGHT_ENTRIES))
            numbers[conv, str(old)] = 2 * counts[kind] + kind
            counts[kind] += 1
    return numbers


def _renumbered(key: str, numbers: dict[tuple[str, str], int]) -> str:
    found = PRE_OP.fullmatch(key)
    if found is None:
        return key
    return f"{found['conv']}.pre_ops.{numbers[found['conv'], found['number']]}.op.{found['entry']}"
