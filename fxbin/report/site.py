"""The report on one call of a layer with a weight."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import WeightBinarizer
from fxbin.graph.node_info import Decision, SiteRewrite, node_info
from fxbin.graph.tensor_spec import tensor_spec
from fxbin.lowering.levels import has_center
from fxbin.report.layer_cost import LayerWeight, batch_size, input_spec, layer_weight, macs, parameter_names

Shape = tuple[int, ...]

NOT_CONV2D = Decision(binarized=False, reason="only conv2d is binarized")


@dataclass(frozen=True)
class SiteReport:
    """One call of a convolution or linear layer. Fields are None where a module kept whole hides them."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    op: str
    """The operator: ``"conv2d"``, ``"linear"``, ``"conv_transpose2d"`` ..."""

    owner: str
    """Qualified name of the module it runs in: ``"conv1"``; empty for the root."""

    binarized: bool
    """Whether it has binarizers."""

    reason: str
    """Why it stays in full precision; empty if it is binarized."""

    weight: str
    """Qualified name of the weight, the same for calls that share it; empty if it is computed."""

    weight_shape: Shape | None
    """Shape of the weight: ``(out, in / groups, kh, kw)`` for a conv2d."""

    input_shape: Shape | None
    """Shape of its input, with the example inputs: ``(n, c, h, w)`` for a conv2d."""

    output_shape: Shape | None
    """Shape of its output, with the example inputs."""

    groups: int | None
    """Number of groups of a convolution; 1 for a linear layer, None for a transposed convolution."""

    macs: int | None
    """Multiply-accumulates for one example."""

    weight_bits: int | None
    """Bits of the stored weight: one per element plus its levels if binarized, else those of its dtype.

    Levels -a and a count as one number, others as two."""

    full_precision_bits: int | None
    """Bits of the weight in its own dtype."""

    activations_enabled: bool
    """Whether its activations are binarized at the moment."""

    weights_enabled: bool
    """Whether its weight is binarized at the moment."""

    train_only: bool
    """Whether it runs in train mode only; such calls do not count in any total."""

    example_call: int = 0
    """Index of the example call that runs it; only those of the first, 0, count in totals."""

    rewrites: tuple[SiteRewrite, ...] = ()
    """What each of `compression.rewrites` that is about it has changed, or why nothing."""

    @property
    def weight_key(self) -> str:
        """Identifies the stored weight: its qualified name, or that of the call site if it is computed."""
        return self.weight or self.name


@dataclass(frozen=True)
class ReplacedSite:
    """A conv2d call site that a rewrite has replaced by other layers."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    owner: str
    """Qualified name of the module that ran it."""

    rewrites: tuple[SiteRewrite, ...]
    """What each of `compression.rewrites` has changed."""


class SiteReporter:
    """Reports on the layers of one model.

    What all of them need, such as the names of parameters, is looked up once, not for each layer.
    """

    def __init__(self, model: BinarizedModule) -> None:
        self.model = model
        self._names = parameter_names(model)
        self._batch_sizes: dict[fx.Graph, int] = {}

    def report(self, node: fx.Node, *, train_only: bool = False, example_call: int = 0) -> SiteReport:
        """The report on `node`, which calls a convolution or linear layer."""
        model, info = self.model, node_info(node)
        assert info is not None
        decision = info.decision or NOT_CONV2D
        weight = layer_weight(model, node, self._names)
        x, y = input_spec(model, node), tensor_spec(model, node)
        state = model.binarization.sites.get(info.name)
        return SiteReport(
            name=info.name,
            op=info.op,
            owner=info.owner,
            binarized=decision.binarized,
            reason=decision.reason,
            weight=weight.name if weight else "",
            weight_shape=weight.shape if weight else None,
            input_shape=x.shape if x else None,
            output_shape=y.shape if y else None,
            groups=_groups(info.op, x.shape, weight.shape) if x and weight else None,
            macs=self._macs_of_one(node, weight),
            weight_bits=_stored_bits(model, decision, weight),
            full_precision_bits=_bits(weight),
            activations_enabled=state is not None and state.activation.is_enabled,
            weights_enabled=state is not None and state.weight.is_enabled,
            train_only=train_only,
            example_call=example_call,
            rewrites=decision.rewrites,
        )

    def _macs_of_one(self, node: fx.Node, weight: LayerWeight | None) -> int | None:
        """Multiply-accumulates for one example; None if shapes are unknown."""
        count = macs(self.model, node, weight)
        if count is None:
            return None
        if node.graph not in self._batch_sizes:
            self._batch_sizes[node.graph] = batch_size(self.model, node.graph)
        return count // self._batch_sizes[node.graph]


def _groups(op: str, x: Shape, weight: Shape) -> int | None:
    if op == "linear":
        return 1
    if "transpose" in op:
        return None  # the shapes of x and its weight (in, out/groups, ...) do not determine it
    # Counted from the end, because a convolution also takes an input without a batch axis.
    return x[1 - len(weight)] // weight[1]


def _bits(weight: LayerWeight | None) -> int | None:
    return None if weight is None else math.prod(weight.shape) * weight.element_bits


def _stored_bits(model: BinarizedModule, decision: Decision, weight: LayerWeight | None) -> int | None:
    """One bit per element, plus its levels in the weight's dtype; if not binarized, all in its dtype."""
    if weight is None or not decision.binarized:
        return _bits(weight)
    # A computed weight is not available here, but how many numbers it needs depends only on its shape.
    w = torch.arange(math.prod(weight.shape)).float().view(weight.shape)
    if weight.tensor is not None:
        w = weight.tensor.detach()
    return w.numel() + _level_count(model.get_submodule(decision.weight), w) * weight.element_bits


def _level_count(binarizer: nn.Module, w: Tensor) -> int:
    """How many numbers the levels of `w` are: one for each -a and a, two for each pair of other levels."""
    assert isinstance(binarizer, WeightBinarizer)
    _, low, high = binarizer.levels(w)
    return low.numel() + high.numel() if has_center(binarizer, w) else high.numel()
