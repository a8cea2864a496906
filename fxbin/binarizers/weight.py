"""Weights of a convolution as two levels, -scale and +scale."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.straight_through import binarize_weight
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.onlookers import is_scripted, known

ScaleAxis = Literal["output", "input"]

MODE_KEY = "mode_"


class WeightBinarizer(Binarizer):
    """``w -> sign(w) * scale(w)``, gradient passed on as it is. A subclass says what the scale is.

    In a transformed model its `state_dict` has a key for the `mode` of the config, ``mode_xnor``, by which a
    state of another mode is told. The key says it, not its value, a 1: loops of others average, cast and
    copy values.
    """

    mode_key: str = ""
    """Name of that buffer; empty outside a transformed model."""

    @property
    def variant(self) -> str:
        """What an option makes another binarizer of, so that states of the two are not exchanged."""
        return ""

    @abstractmethod
    def scale(self, w: Tensor) -> Tensor:
        """Positive factor on the signs of `w`, a constant in backward; each axis is 1 or that of `w`."""

    def binarize(self, x: Tensor) -> Tensor:
        """Return the weight `x` with the levels ``-scale(x)`` and ``+scale(x)``."""
        scale = self.scale(x.detach())
        if not (scale.dim() == 0 or _is_factor(scale.shape, x.shape)):
            raise TransformError(
                f"{self.name or 'weight binarizer'}: {type(self).__name__}.scale gave {tuple(scale.shape)} "
                f"for a weight {tuple(x.shape)}: expected one number, or four axes that are each 1 or the "
                f"weight's, such as ({x.shape[0]}, 1, 1, 1). keepdim=True keeps axes that are averaged over"
            )
        return binarize_weight(x, scale)

    def keep_mode(self, mode: str) -> None:
        """Let the `state_dict` say that this is the binarizer of `mode`."""
        name = f"{mode} {self.variant}".strip().replace(".", "_").replace(" ", "_")
        self.mode_key = f"{MODE_KEY}{name}"
        self.register_buffer(self.mode_key, torch.ones(1))

    def check_mode(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Raise CheckpointError if what `state_dict` has at `prefix` is of another mode.

        A state that was saved before modes were, or by NNCF, is taken for one of this mode.
        """
        start = f"{prefix}{MODE_KEY}"
        saved = [key.removeprefix(prefix) for key in state_dict if key.startswith(start)]
        if self.mode_key and saved and self.mode_key not in saved:
            was, now = (key.removeprefix(MODE_KEY) for key in (saved[0], self.mode_key))
            raise CheckpointError(
                f"state_dict: {prefix[:-1]} was saved with mode {was!r}, this model has {now!r}: its "
                "weights would be scaled in another way. Transform with the mode and weight_scale_axis "
                "that it was saved with, or leave out the binarizers' entries and load with strict=False."
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        self.check_mode(state_dict, prefix)
        if self.mode_key:
            own = {f"{prefix}{self.mode_key}": getattr(self, self.mode_key)}
            state_dict = {**own, **state_dict}  # so that it is not called missing
        super()._load_from_state_dict(state_dict, prefix, *args)


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

    @property
    def variant(self) -> str:
        """``"input"`` for the axis that is not the usual one."""
        return "" if self.scale_axis == "output" else self.scale_axis

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


def _is_factor(scale: Sequence[int], w: Sequence[int]) -> bool:
    """Whether each axis of a scale is that of the weight, or 1: no broadcasting that lines up other axes."""
    if len(scale) != len(w):
        return False
    if not torch.compiler.is_compiling() and is_scripted():
        scale, w = [*map(known, scale)], [*map(known, w)]
    # At each forward: a loop takes a fifth of what `all` and a generator do.
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
