"""Weights with two levels, composed of a transformation, a rule for the levels, and a gradient estimator."""

import torch
from torch import Tensor, nn

from fxbin.binarizers.estimators import Estimator
from fxbin.binarizers.latent import LatentTransform
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.parts import latent_transforms, weight_levels
from fxbin.binarizers.two_levels import two_levels
from fxbin.binarizers.weight import WeightBinarizer, check_conv2d_weight
from fxbin.binarizers.weight_levels import WeightLevels


class ComposedWeightBinarizer(WeightBinarizer):
    """``y = center + a sign(v)``: v is the latent weight transformed by `latent`, zero counts as negative.

    `rule` says what the center and the scale a are. The gradient of v is that of y times the derivative of
    `estimator` at v, and times a if the estimator `is_scaled`, as the chain rule has it; it goes on through
    the transformation. Parameters of the rule get the gradients of the levels.

    Shapes: w, v and y ``(out, in / groups, kh, kw)``; center and a have four axes, 1 or that of w.
    Errors: TransformError if w is not 4-d.
    """

    def __init__(
        self, shape: tuple[int, ...], rule: WeightLevels, estimator: Estimator, latent: LatentTransform
    ) -> None:
        super().__init__()
        check_conv2d_weight(shape)
        self.rule, self.estimator, self.latent = rule, estimator, latent
        learned = rule.parameters(torch.empty(shape, device="meta"))
        self._learned = tuple(learned)
        """Names of the parameters of the rule."""
        for name, value in learned.items():
            self.register_parameter(name, nn.Parameter(value))
        if estimator.follows_progress or latent.follows_progress:
            self.follow_progress()

    @property
    def is_by_filter(self) -> bool:
        """Whether the rule for the levels says so."""
        return self.rule.is_by_filter

    @property
    def variant(self) -> str:
        """The parts that decide what the output is."""
        return f"{weight_levels.text_of(self.rule)} {latent_transforms.text_of(self.latent)}"

    def levels(self, w: Tensor) -> Levels:
        """The levels and the threshold of `w`, see the base class."""
        check_conv2d_weight(w.shape, self.name)
        transformed = self.latent.apply(w, self.current_progress)
        return self._levels(w, transformed, self.latent.threshold(w))

    def scale(self, w: Tensor) -> Tensor:
        """The scale a of `w`: half of the distance between its levels."""
        return self.levels(w).half_distance

    def center(self, w: Tensor) -> Tensor | None:
        """The middle between the levels of `w`; None if the rule has no center, which is 0 then."""
        return self.center_and_scale(w, self.latent.apply(w, self.current_progress))[0]

    def center_and_scale(self, w: Tensor, transformed: Tensor) -> tuple[Tensor | None, Tensor]:
        """What `rule` says, with its gradients; `transformed` is w after its transformation."""
        return self.rule.of(w, transformed, self._parameters_of_rule())

    def binarize(self, x: Tensor) -> Tensor:
        """Return the weight `x` with two levels, same shape and dtype."""
        check_conv2d_weight(x.shape, self.name)
        progress = self.current_progress
        transformed = self.latent.apply(x, progress)
        levels = self._levels(x, transformed, x.new_zeros(1, 1, 1, 1))
        return two_levels(
            transformed,
            levels,
            x.new_ones(1, 1, 1, 1),
            self.estimator,
            factor=levels.half_distance.detach() if self.estimator.is_scaled else None,
            progress=progress,
        )

    def _levels(self, w: Tensor, transformed: Tensor, threshold: Tensor) -> Levels:
        center, scale = self.center_and_scale(w, transformed)
        if center is None:
            return Levels.symmetric(threshold, scale)
        return Levels(threshold, center - scale, center + scale)

    def _parameters_of_rule(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._learned}

    def extra_repr(self) -> str:
        """Options that the printed model shows."""
        return f"{self.rule}, {self.estimator}, {self.latent}"
