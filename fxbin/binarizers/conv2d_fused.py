"""A convolution and both its binarizers as one autograd function, for eager mode on a CPU."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from fxbin import torch_private
from fxbin.binarizers import cpu_passes
from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.axes import pair
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_two_levels import two_level_conv2d
from fxbin.binarizers.engine_weight import scale_of
from fxbin.binarizers.firing import FiringCount
from fxbin.binarizers.first_derivative import first_derivative_only
from fxbin.binarizers.straight_through import formula_gradients
from fxbin.binarizers.weight import WeightBinarizer
from fxbin.engine.backward import level_gradients, ste_gradients
from fxbin.engine.float_conv2d import Geometry, is_by_filter, prepared
from fxbin.engine.library import Engine, training_engine
from fxbin.engine.weight_levels import weight_levels
from fxbin.onlookers import is_proxy
from fxbin.torch_private import CALLED_HOOKS, COMPILED_CALL

_HOOKS, _PRE_HOOKS, _BACKWARD_HOOKS, _BACKWARD_PRE_HOOKS = CALLED_HOOKS
# What the fused function computes; the classes may be patched.
_BINARIZE_ACTIVATION, _BINARIZE_WEIGHT = ActivationBinarizer.binarize, WeightBinarizer.binarize
_convolution_backward = torch.ops.aten.convolution_backward.default


def binarized_conv2d(
    activations: Binarizer,
    weights: Binarizer,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """``conv2d(activations(x), weights(w), bias, ...)``, and its gradients, up to rounding.

    One autograd function replaces three, which halves the cost of a call apart from the passes over tensors;
    in float32, the 1-bit engine computes the output, with exact sums, and the gradients of the levels.
    It applies in float32 or float64 on a CPU, without a compiler, autocast or a functional transform, for
    finite inputs, and if no hook sees the outputs of the binarizers; in eval mode, where the engine is.
    Otherwise the three calls are made.
    """
    if w is None:
        weights.refuse_missing()
    if torch.compiler.is_compiling():
        return conv2d(activations(x), weights(w), bias, stride, padding, dilation, groups)
    if not (activations.is_enabled or weights.is_enabled):
        if _passes_on(activations) and _passes_on(weights) and not is_proxy(x):
            return F.conv2d(x, w, bias, stride, padding, dilation, groups)
    elif not isinstance(padding, str) and _is_fused(activations, weights, x, w):
        y = _fused(activations, weights, x, w, bias, (pair(stride), pair(padding), pair(dilation), groups))
        if y is not None:
            return y
    return conv2d(activations(x), weights(w), bias, stride, padding, dilation, groups)


def _fused(
    activations: nn.Module, weights: nn.Module, x: Tensor, w: Tensor, bias: Tensor | None, settings: Geometry
) -> Tensor | None:
    """The output in one step; None if the modules have to see a number that is not finite."""
    assert isinstance(activations, ActivationBinarizer)
    assert isinstance(weights, WeightBinarizer)
    if not activations.is_nncf:
        return two_level_conv2d(activations, weights, x, w, bias, settings)
    parameters = activations.scale, activations.threshold
    if not activations.training and not torch.is_grad_enabled():
        return _Levels.of(*parameters, activations, weights, w).convolve(x, w, bias, settings)
    low, high = cpu_passes.value_range(x)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    if activations.awaits_first_batch:
        activations.start_from(x)
    y: Tensor = _BinarizedConv2d.apply(  # type: ignore[no-untyped-call]
        x, w, bias, *parameters, activations, weights, low >= 0, settings
    )
    return y


class _BinarizedConv2d(Function):
    """``y = conv2d(s H(x - s t), a sign(w)) + bias`` with s = exp(log_scale), t = sigmoid(logit).

    Forward, backward: as `BinarizeActivation`, `BinarizeWeight` (if it is enabled; else w stays as it is),
    `torch.exp` and `torch.sigmoid` define them. Of the large tensors only x and w are saved.

    The backward needs H only, not s H. For the weight w' = a sign(w), dL/dw' is s times the weight gradient
    that the convolution has for the input H. As the convolution is linear in both, the inner product of w'
    and dL/dw' equals that of s H and its gradient, which dL/ds needs.

    Shapes: x ``(n, c, h, w)``, log_scale ``(1,)``, logit ``(1, c, 1, 1)``.
    Errors: RuntimeError on a second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        log_scale: Tensor,
        logit: Tensor,
        activations: ActivationBinarizer,
        weights: WeightBinarizer,
        nonnegative: bool,
        settings: Geometry,
    ) -> Tensor:
        """See the class."""
        levels = _Levels.of(log_scale, logit, activations, weights, w)
        ctx.save_for_backward(x, w)
        ctx.kept = levels, nonnegative, settings
        return levels.convolve(x, w, bias, settings, activations.firing if activations.training else None)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        x, w = ctx.saved_tensors
        levels, nonnegative, settings = ctx.kept
        wants_x, wants_w, wants_bias, *wants_levels = ctx.needs_input_grad[:5]
        conv = _Backward(grad_y, levels.two_level(w), settings, wants_w, wants_bias)
        if not (wants_x or any(wants_levels)):
            _, grad_w, grad_bias = conv.gradients(cpu_passes.fired(x, levels.threshold), False)
            return None, grad_w.mul_(levels.s) if wants_w else None, grad_bias, *(None,) * 6
        found = None
        if levels.engine is not None and wants_w:
            found = _by_engine(levels.engine, conv, x, levels)
        grad_x, *others = found or _by_passes(conv, x, levels, nonnegative)
        return (grad_x if wants_x else None), *others, *(None,) * 4


@dataclass(slots=True)
class _Levels:
    """The levels of both binarizers, and what computes with them."""

    s: Tensor
    t: Tensor
    threshold: Tensor
    a: Tensor | None
    """Scale of the weight, or None if it stays as it is."""
    m: float
    engine: Engine | None

    @classmethod
    def of(
        cls,
        log_scale: Tensor,
        logit: Tensor,
        activations: ActivationBinarizer,
        weights: WeightBinarizer,
        w: Tensor,
    ) -> "_Levels":
        """Those that the binarizers have now."""
        s, t = log_scale.exp(), logit.sigmoid()
        engine = training_engine() if w.dtype == torch.float32 else None
        a = scale_of(weights, w, engine) if weights.is_enabled else None
        m = 1.0 if activations.lr_multiplier is None else activations.lr_multiplier
        return cls(s, t, t * s, a, m, engine)

    def convolve(
        self, x: Tensor, w: Tensor, bias: Tensor | None, settings: Geometry, firing: FiringCount | None = None
    ) -> Tensor:
        """The output; `firing` counts where x is high."""
        fired = None
        if firing is not None and self.engine is not None:
            firing.add_above(self.engine, x, self.threshold)
        elif firing is not None:
            fired = cpu_passes.fired(x, self.threshold)
            firing.add_mask(fired)
        if self.engine is not None and self.a is not None:
            conv = prepared(x, w, self.a, bias, settings)
            if conv is not None:
                return conv.run(self.engine, x, self.threshold, (0.0, self.s.item()), w, self.a, bias)
        fired = cpu_passes.fired(x, self.threshold) if fired is None else fired
        return F.conv2d(fired.mul_(self.s), self.two_level(w), bias, *settings)

    def two_level(self, w: Tensor) -> Tensor:
        """The weight that is convolved with."""
        if self.a is None:
            return w
        if self.engine is not None and is_by_filter(self.a, w):
            return weight_levels(self.engine, w, self.a)
        return cpu_passes.signs(w, self.a)


@dataclass(slots=True)
class _Backward:
    """The backward of the convolution with the weight `w`."""

    grad_y: Tensor
    w: Tensor
    settings: Geometry
    wants_w: bool
    wants_bias: bool

    def gradients(self, fired: Tensor, wants_g: bool) -> tuple[Any, Any, Any]:
        """Those of input, weight and bias, None where not wanted."""
        return self._wanted(fired, (wants_g, self.wants_w, self.wants_bias))

    def gradient_of_input(self, x: Tensor) -> Tensor:
        """That of the input, of which `x` only has the shape."""
        g: Tensor = self._wanted(x, (True, False, False))[0]
        return g

    def _wanted(self, fired: Tensor, wanted: tuple[bool, bool, bool]) -> tuple[Any, Any, Any]:
        *geometry, groups = self.settings
        found: tuple[Any, Any, Any] = _convolution_backward(
            self.grad_y, fired, self.w, [self.w.shape[0]], *geometry, False, (0, 0), groups, wanted
        )
        return found


_Gradients = tuple[Tensor, Tensor | None, Tensor | None, Tensor, Tensor]
"""Of x, w, bias, log_scale and logit."""


def _by_engine(engine: Engine, conv: _Backward, x: Tensor, levels: _Levels) -> _Gradients | None:
    """All gradients; None if a sum is not finite."""
    high = levels.s.item()
    grad_x, fired, sums = ste_gradients(engine, conv.gradient_of_input(x), x, levels.threshold, high)
    _, grad_w, grad_bias = conv.gradients(fired, False)
    grad_w, grad_scale, grad_logit = level_gradients(engine, grad_w, conv.w, high, levels.m, sums, levels.t)
    found = grad_x, grad_w, grad_bias, grad_scale, grad_logit
    return found if math.isfinite(grad_scale.item()) else None


def _by_passes(conv: _Backward, x: Tensor, levels: _Levels, nonnegative: bool) -> _Gradients:
    s, t = levels.s, levels.t
    fired = cpu_passes.fired(x, levels.threshold)
    g, grad_w, grad_bias = conv.gradients(fired, True)
    if conv.wants_w:
        grad_w.mul_(s)
    sum_gy = cpu_passes.inner(grad_w, conv.w) if conv.wants_w else cpu_passes.inner(g, fired) * s.item()
    del fired  # for its memory
    found = cpu_passes.gradients(g, x, s, None, nonnegative=nonnegative, sum_gy=sum_gy)
    grad_x, grad_s, grad_t = found or formula_gradients(g, x, levels.threshold.view(-1, 1, 1), s, s.dtype)
    grad_logit = torch.ops.aten.sigmoid_backward(grad_t.view_as(t).mul_(levels.m), t)
    return grad_x, grad_w, grad_bias, s * (grad_s * levels.m), grad_logit


def _is_fused(activations: nn.Module, weights: nn.Module, x: Tensor, w: Tensor) -> bool:
    """Whether `_BinarizedConv2d` computes what the two modules would, and supports these tensors."""
    return (
        type(activations) is ActivationBinarizer
        and activations.is_enabled
        and _is_plain(activations)
        and isinstance(weights, WeightBinarizer)
        and ActivationBinarizer.binarize is _BINARIZE_ACTIVATION
        and (type(weights).binarize is _BINARIZE_WEIGHT or not activations.is_nncf)
        and type(weights).forward is Binarizer.forward
        and _is_plain(weights)
        and not torch_private.has_any_global_hook()
        and cpu_passes.applies_to(x)
        and cpu_passes.applies_to(w)
        and x.dtype == w.dtype
        and (not activations.is_nncf or activations.scale.dtype == activations.threshold.dtype == x.dtype)
        and x.dtype in (torch.float32, torch.float64)
        and x.dim() == 4
        and x.shape[1] == activations.channels
        and x.numel() > 0
        and not (x.is_neg() or w.is_neg())
        and not torch.is_autocast_enabled("cpu")
        and (activations.training or (x.dtype == torch.float32 and training_engine() is not None))
    )


def _passes_on(binarizer: Binarizer) -> bool:
    """Whether calling the disabled `binarizer` does nothing but return its input: no hooks, no override."""
    forward = type(binarizer).forward
    return (forward is ActivationBinarizer.forward or forward is Binarizer.forward) and _is_plain(binarizer)


def _is_plain(module: nn.Module) -> bool:
    """Whether calling `module` runs the forward of its class and nothing else."""
    own = vars(module)
    # One by one, as this is asked in each forward, and takes half of the time of a loop.
    return not (
        own[_HOOKS]
        or own[_PRE_HOOKS]
        or own[_BACKWARD_HOOKS]
        or own[_BACKWARD_PRE_HOOKS]
        or "forward" in own
        or "binarize" in own
        or own.get(COMPILED_CALL)
    )
