"""The conv2d call sites of a graph, without binarizers or with them: ``activation -> conv2d <- weight``."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.graph.attribute import attribute, submodule_at
from fxbin.graph.node_info import Decision, NodeInfo, node_decision, node_info, node_name
from fxbin.original.plain_code import runs_code_of

CONV2D_FUNCTIONS: tuple[Callable[..., Any], ...] = (F.conv2d, torch.conv2d, torch.ops.aten.conv2d, conv2d)
"""Functions that take the arguments of `F.conv2d` and return its result."""

_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
CONV2D_ARGUMENTS = ("input", "weight", *_DEFAULTS)


@dataclass(frozen=True)
class CallSite:
    """One call of a conv2d. A module that is called twice has two call sites.

    All properties are looked up in the current state of the graph.
    """

    owner: nn.Module
    """The module with the submodules and parameters that the nodes of the graph refer to."""

    node: fx.Node
    """A ``call_module`` of a conv2d layer, a ``call_function`` of `F.conv2d`, or a module kept whole."""

    @property
    def info(self) -> NodeInfo:
        """Names of the call site and the decision about it; its node must have been named."""
        info = node_info(self.node)
        assert info is not None
        return info

    @property
    def name(self) -> str:
        """Hierarchical name; the name of the fx node if the node has not been named."""
        return node_name(self.node)

    @property
    def selected(self) -> Decision | None:
        """The decision about a call site that is to be binarized; None for any other."""
        decision = node_decision(self.node)
        return decision if decision is not None and decision.binarized else None

    @property
    def is_function(self) -> bool:
        """Whether the node calls a conv2d function, with the weight as an argument, and not a module."""
        return self.node.op == "call_function"

    @property
    def arguments(self) -> dict[str, Any]:
        """The seven arguments of `F.conv2d` by name, in its order, with defaults; only for a function."""
        given = zip(CONV2D_ARGUMENTS, self.node.args, strict=False)
        found = _DEFAULTS | dict(given) | self.node.kwargs
        return {name: found[name] for name in CONV2D_ARGUMENTS}

    @property
    def x(self) -> fx.Node:
        """The node of the input ``(n, c, h, w)``, which may be that of an activation binarizer."""
        return _node(argument(self.node, 0, "input"))

    @property
    def w(self) -> fx.Node:
        """The node of the weight ``(out, in / groups, kh, kw)``; only for a function.

        It may be the node of a weight binarizer.
        """
        return _node(argument(self.node, 1, "weight"))

    @property
    def activation(self) -> ActivationBinarizer | None:
        """The binarizer that computes the input; None if something else does."""
        found = called_binarizer(self.owner, argument(self.node, 0, "input"))
        return found if isinstance(found, ActivationBinarizer) else None

    @property
    def weight(self) -> WeightBinarizer | None:
        """The binarizer that computes the weight of a function; None if something else does."""
        found = called_binarizer(self.owner, argument(self.node, 1, "weight"))
        return found if isinstance(found, WeightBinarizer) else None

    @property
    def raw_x(self) -> fx.Node:
        """The node of the input before its binarizer; `x` if there is none."""
        return in_front_of_binarizer(self.owner, self.x)

    @property
    def raw_w(self) -> fx.Node:
        """The node of the weight before its binarizer; `w` if there is none."""
        return in_front_of_binarizer(self.owner, self.w)

    @property
    def weight_path(self) -> str | None:
        """Qualified name of the weight: ``"conv1.weight"``; None for a weight that is computed."""
        if not self.is_function:
            return f"{self.node.target}.weight"
        return str(self.raw_w.target) if self.raw_w.op == "get_attr" else None

    @property
    def why_not(self) -> str | None:
        """Why the graph cannot be rewritten at this call site; None if it can."""
        if self.is_function:
            return _why_not_parameters(self.owner, self.raw_w)
        if self.info.name_in_part:
            return None  # the module is a part, and in its graph the convolution is a function
        layer = self.owner.get_submodule(str(self.node.target))
        if not (isinstance(layer, nn.Conv2d) and runs_code_of(layer, nn.Conv2d)):
            return f"it runs inside {type(layer).__name__}, which is kept whole (leaf_modules)"
        if any(torch_private.called_hooks(layer)):
            return "its module has hooks, which run around the module as a whole"
        return None


def is_call_site(node: fx.Node) -> bool:
    """Whether a conv2d runs in `node`, which must have been named unless it calls a function."""
    if node.op == "call_function":
        # By identity, as other functions may be called conv2d; a user may have replaced `F.conv2d` since.
        return node.target in CONV2D_FUNCTIONS or node.target is F.conv2d
    info = node_info(node)
    return info is not None and info.op == "conv2d"


def call_sites(owner: nn.Module, graph: fx.Graph) -> Iterator[CallSite]:
    """Yield the call sites of `graph`, in execution order."""
    for node in graph.nodes:
        if is_call_site(node):
            yield CallSite(owner, node)


def binarized_call_sites(owner: nn.Module, graph: fx.Graph) -> Iterator[CallSite]:
    """Yield the call sites whose input or weight a binarizer computes, in execution order."""
    for site in call_sites(owner, graph):
        if site.is_function and (site.activation is not None or site.weight is not None):
            yield site


def sites_of_calls(owner: nn.Module, graphs: Iterable[fx.Graph]) -> Iterator[CallSite]:
    """Yield the call sites of the first of `graphs`, then those that only later graphs run.

    Each graph is that of one example call of `owner`.
    """
    known: set[str] = set()
    for graph in graphs:
        sites = [site for site in call_sites(owner, graph) if site.name not in known]
        known |= {site.name for site in sites}
        yield from sites


def called_binarizer(owner: nn.Module, node: object) -> Binarizer | None:
    """The binarizer that `node` calls; None if it calls none, or one that `owner` no longer has."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    called = submodule_at(owner, str(node.target))
    return called if isinstance(called, Binarizer) else None


def in_front_of_binarizer(owner: nn.Module, node: fx.Node) -> fx.Node:
    """The input of the binarizer that `node` calls; `node` itself if it calls none."""
    return node if called_binarizer(owner, node) is None else node.all_input_nodes[0]


def argument(node: fx.Node, position: int, name: str) -> Any:
    """The argument of `node` for the parameter `name` at `position`; None if there is none."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise TypeError(f"expected a convolution of tensors that the graph computes, got one of {value!r}")
    return value


def _why_not_parameters(owner: nn.Module, weight: fx.Node) -> str | None:
    """Why `weight` is not computed from parameters alone; None if it is."""
    pending, seen, has_parameter = [weight], {weight}, False
    while pending:
        node = pending.pop()
        if node.op == "placeholder":
            return "its weight depends on the input"
        if node.op == "get_attr":
            has_parameter |= isinstance(attribute(owner, str(node.target)), nn.Parameter)
        new = [source for source in node.all_input_nodes if source not in seen]
        pending += new
        seen.update(new)
    return None if has_parameter else "its weight is not a parameter"
