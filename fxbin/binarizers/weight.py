"""Weights of a convolution as two levels, -scale and +scale."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.straight_through import binarize_weight
from fxbin.errors import ConfigError, TransformError
from fxbin.onlookers import is_scripted, known

ScaleAxis = Literal["output", "input"]


class WeightBinarizer(Binarizer):
    """``w -> sign(w) * scale(w)``; the gradient passes unchanged. A subclass defines the scale."""

    tried_shape: tuple[int, ...] | None = None
    """Shape of the weight on which the registry has tried this binarizer out; None outside a model."""

    @property
    def variant(self) -> str:
        """Part of the mode key: what changes the output and no other key of a state; empty if nothing."""
        return ""

    @property
    def is_by_filter(self) -> bool:
        """Whether the levels are -a and a, with one a for each filter or one for all."""
        return False

    @abstractmethod
    def scale(self, w: Tensor) -> Tensor:
        """The positive factor on the signs of `w`: one number, or four axes that are each 1 or that of `w`.

        No gradient flows through it.
        """

    def levels(self, w: Tensor) -> Levels:
        """The levels of `w`, each one number or four axes that are 1 or that of `w`, and the threshold.

        By default ``-scale(w)`` and ``scale(w)`` with the threshold 0. A subclass whose `binarize` has others
        declares them here: exports, the engine and reports use these.
        """
        scale = self.scale(w)
        return Levels.symmetric(w.new_zeros(1, 1, 1, 1), scale)

    def binarize(self, x: Tensor) -> Tensor:
        """Return the weight `x` with the levels ``-scale(x)`` and ``+scale(x)``, same shape and dtype."""
        scale = self.scale(x.detach())
        if not (scale.dim() == 0 or _is_factor(scale.shape, x.shape)):
            raise TransformError(
                f"{self.name or 'weight binarizer'}: {type(self).__name__}.scale gave {tuple(scale.shape)} "
                f"for a weight {tuple(x.shape)}: expected one number, or four axes that are each 1 or the "
                f"weight's, such as ({x.shape[0]}, 1, 1, 1). keepdim=True keeps axes that are averaged over"
            )
        return binarize_weight(x, scale)


class XNORWeightBinarizer(WeightBinarizer):
    """One scale per filter: the mean of ``|w|`` over it, which is optimal in the least-squares sense.

    `scale_axis` ``"output"`` (default) means one scale per output channel, averaged over axes (1, 2, 3):
    Rastegari et al. 2016, arXiv:1603.05279, eq. (6), and what NNCF 2.9 computes. ``"input"`` means one per
    input channel of the filters, averaged over axes (0, 2, 3): what the NNCF documentation says. Only
    ``"output"`` factors out of a 1-bit dot product.

    Shapes: w ``(out, in / groups, kh, kw)``, scale ``(out, 1, 1, 1)`` or ``(1, in / groups, 1, 1)``.
    Errors: ConfigError for an unknown `scale_axis`, TransformError if w is not 4-d.
    """

    def __init__(self, scale_axis: ScaleAxis = "output") -> None:
        super().__init__()
        if scale_axis not in get_args(ScaleAxis):
            raise ConfigError(f'params.weight_scale_axis: expected "output" or "input", got {scale_axis!r}')
        self.scale_axis: ScaleAxis = scale_axis

    def scale(self, w: Tensor) -> Tensor:
        """Mean of ``|w|`` over all axes but the one that `scale_axis` names, which is kept."""
        check_conv2d_weight(w.shape, self.name)
        axes = (1, 2, 3) if self.scale_axis == "output" else (0, 2, 3)
        return w.abs().mean(axes, keepdim=True)

    @property
    def is_by_filter(self) -> bool:
        """True for the default scale axis."""
        return self.scale_axis == "output"

    @property
    def variant(self) -> str:
        """``"input"`` for that scale axis, empty for the default."""
        return "" if self.scale_axis == "output" else self.scale_axis

    def extra_repr(self) -> str:
        """Options that the printed model shows."""
        return f"scale_axis={self.scale_axis!r}"


class DoReFaWeightBinarizer(WeightBinarizer):
    """One scale for the whole weight: the mean of ``|w|``.

    Source: Zhou et al. 2016, arXiv:1606.06160, eq. (7); nothing else of that paper applies to 1-bit weights.

    Shapes: w ``(out, in / groups, kh, kw)``, scale ``(1, 1, 1, 1)``.
    Errors: TransformError if w is not 4-d.
    """

    @property
    def is_by_filter(self) -> bool:
        """True: there is one scale for all filters."""
        return True

    def scale(self, w: Tensor) -> Tensor:
        """Mean of ``|w|`` over the whole weight."""
        check_conv2d_weight(w.shape, self.name)
        return w.abs().mean((0, 1, 2, 3), keepdim=True)


def _is_factor(scale: Sequence[int], w: Sequence[int]) -> bool:
    """Whether the shape `scale` has as many axes as the shape `w`, each 1 or that of `w`."""
    if len(scale) != len(w):
        return False
    if not torch.compiler.is_compiling() and is_scripted():
        scale, w = [*map(known, scale)], [*map(known, w)]
    # Every forward comes here: a loop takes a fifth of the time of `all` over a generator.
    for mine, its in zip(scale, w, strict=True):  # noqa: SIM110
        if mine != 1 and mine != its:
            return False
    return True


def check_conv2d_weight(shape: tuple[int, ...], name: str = "") -> None:
    """Raise TransformError unless `shape` is that of a conv2d weight, ``(out, in / groups, kh, kw)``."""
    if len(shape) != 4:
        raise TransformError(
            f"{name or 'weight binarizer'}: expected a conv2d weight (out, in / groups, kh, kw), "
            f"got {len(shape)}-d {tuple(shape)}. Only 2-d convolutions can be binarized: "
            "put others in ignored_scopes."
        )
