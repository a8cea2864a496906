"""Weights of a convolution as two levels, -scale and +scale."""

from abc import abstractmethod
from typing import Literal, get_args

from torch import Tensor

from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.straight_through import binarize_weight
from fxbin.errors import ConfigError, TransformError

ScaleAxis = Literal["output", "input"]


class WeightBinarizer(Binarizer):
    """``w -> sign(w) * scale(w)``, gradient passed on as it is. A subclass says what the scale is."""

    @abstractmethod
    def scale(self, w: Tensor) -> Tensor:
        """Positive factor on the signs of `w`, broadcastable to `w`; treated as a constant in backward."""

    def binarize(self, x: Tensor) -> Tensor:
        """Return the weight `x` with the levels ``-scale(x)`` and ``+scale(x)``."""
        return binarize_weight(x, self.scale(x.detach()))


class XNORWeightBinarizer(WeightBinarizer):
    """One scale per filter: the mean of ``|w|`` over it, which is the least-squares optimal one.

    `scale_axis` ``"output"`` (default) means one scale for each output channel, axes (1, 2, 3) averaged:
    Rastegari et al. 2016, arXiv:1603.05279, eq. (6), and what NNCF 2.9 computes. ``"input"`` means one for
    each input channel of the filters, axes (0, 2, 3) averaged: what the NNCF documentation says. Only the
    first factors out of a 1-bit dot product.

    Shapes: w ``(out, in / groups, kh, kw)``, scale ``(out, 1, 1, 1)`` or ``(1, in / groups, 1, 1)``.
    Errors: ConfigError for another `scale_axis`, TransformError if w is not 4-d.
    """

    def __init__(self, scale_axis: ScaleAxis = "output") -> None:
        super().__init__()
        if scale_axis not in get_args(ScaleAxis):
            raise ConfigError(f'params.weight_scale_axis: expected "output" or "input", got {scale_axis!r}')
        self.scale_axis: ScaleAxis = scale_axis

    def scale(self, w: Tensor) -> Tensor:
        """Mean of ``|w|`` over the axes that `scale_axis` leaves."""
        check_conv2d_weight(w.shape, self.name)
        axes = (1, 2, 3) if self.scale_axis == "output" else (0, 2, 3)
        return w.abs().mean(axes, keepdim=True)

    def extra_repr(self) -> str:
        """What the printed model shows."""
        return f"scale_axis={self.scale_axis!r}"


class DoReFaWeightBinarizer(WeightBinarizer):
    """One scale for the whole weight: the mean of ``|w|``.

    Zhou et al. 2016, arXiv:1606.06160, eq. (7); nothing else of that paper applies to 1-bit weights.

    Shapes: w ``(out, in / groups, kh, kw)``, scale ``(1, 1, 1, 1)``.
    Errors: TransformError if w is not 4-d.
    """

    def scale(self, w: Tensor) -> Tensor:
        """Mean of ``|w|``."""
        check_conv2d_weight(w.shape, self.name)
        return w.abs().mean((0, 1, 2, 3), keepdim=True)


def check_conv2d_weight(shape: tuple[int, ...], name: str = "") -> None:
    """Raise TransformError unless `shape` is that of a conv2d weight, ``(out, in / groups, kh, kw)``."""
    if len(shape) != 4:
        raise TransformError(
            f"{name or 'weight binarizer'}: expected a conv2d weight (out, in / groups, kh, kw), "
            f"got {len(shape)}-d {tuple(shape)}. Only 2-d convolutions can be binarized: "
            "put others in ignored_scopes."
        )
