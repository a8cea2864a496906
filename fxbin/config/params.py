"""Keys of `compression.params`: stages, learning rate, weight decay, and how binarizers start."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from fxbin.config.pattern import REGEX_MARK
from fxbin.config.value_types import (
    Count,
    Flag,
    NotNegative,
    NotNull,
    OneOrMore,
    Positive,
    Section,
    Text,
    Whole,
    one_of,
    problem,
    valid_expression,
)

WITHOUT_DECAY = ("norms", "biases", "prelu", "binarizers", "binarized_weights")
"""The kinds of parameters that `wd_exclude` can name."""


def _known_exclusion(entry: str) -> str:
    """Refuse what is neither a kind of parameter nor ``{re}`` with a valid expression."""
    if REGEX_MARK in entry:
        return valid_expression(entry)
    return one_of(entry, WITHOUT_DECAY, "Name other parameters by {re} and a regular expression.")


WithoutDecay = Annotated[tuple[Annotated[Text, AfterValidator(_known_exclusion)], ...], OneOrMore, NotNull]


class Params(Section):
    """Stages of training. Epochs count from 0, and a stage has begun if epoch >= start."""

    batch_multiplier: Count = 1
    """Number of batches whose gradients are averaged for one optimizer step."""

    activations_quant_start_epoch: NotNegative = 1
    """First epoch with binarized activations."""

    weights_quant_start_epoch: NotNegative = 1
    """First epoch with binarized weights."""

    lr_schedule: Literal["poly", "cosine", "linear"] = "poly"
    """How the learning rate decays: by (remaining share) ** 2.1 as in NNCF, by a cosine, or linearly."""

    lr_poly_drop_start_epoch: Annotated[NotNegative | None, NotNull] = None
    """Epoch from which the learning rate decays, as `lr_schedule` says; without it, never."""

    lr_poly_drop_duration_epochs: Positive = 30
    """Number of epochs over which the learning rate decays."""

    lr_per_stage: Flag = False
    """Whether the learning rate also decays in each stage before the last, until the next one starts."""

    disable_wd_start_epoch: Annotated[NotNegative | None, NotNull] = None
    """Epoch from which weight decay is 0; without it, never."""

    base_lr: Positive = 1e-3
    """The optimizer's learning rate."""

    base_wd: NotNegative = 1e-5
    """The optimizer's weight decay."""

    wd_exclude: WithoutDecay = ()
    """No weight decay for: `norms`, `biases`, `prelu`, `binarizers`, `binarized_weights`, `{re}` names."""

    binarizer_lr_multiplier: Positive = 1.0
    """Factor on the learning rate of scale and threshold. A factor on gradients has no effect with Adam."""

    batch_norm_batches: Whole = 0
    """Training batches from which BatchNorm statistics are recomputed after each epoch; 0: not at all."""

    progress_epochs: Annotated[Positive | None, NotNull] = None
    """Epochs over which `ede`, `reste` and `clamp_quantiles` change; without it, until the decay ends."""

    weight_scale_axis: Literal["output", "input"] = "output"
    """Mode xnor: one scale per output filter (XNOR-Net, section 3.1), or per input channel."""

    activation_scale_init: Literal["quantile", "mse"] = "quantile"
    """Initial activation scale: NNCF's top 0.1 %, or the two-level value of least squared error."""

    activation_threshold_init: Literal["half", "mse"] = "half"
    """Initial thresholds: half the scale (NNCF), or half of each channel's own `mse` value."""

    activation_init_batches: Count = 1
    """Number of first binarized training batches whose initial scales and thresholds are averaged."""

    @model_validator(mode="after")
    def _decays(self) -> Self:
        """Refuse a decay that never starts."""
        if self.lr_schedule != "poly" and self.lr_poly_drop_start_epoch is None:
            hint = 'Add "lr_poly_drop_start_epoch", which is the start of each kind of decay.'
            raise problem('"poly" without a start of the decay', hint, ("lr_schedule",))
        return self
