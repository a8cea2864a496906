"""Keys of `fxbin train` about its steps and epochs: optimizer, precision, checkpoints, where metrics go."""

from typing import Annotated, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from fxbin.config.logger import LoggerKey, LoggerValue
from fxbin.config.optimizer import OptimizerKey, OptimizerValue
from fxbin.config.value_types import Count, Flag, NotNegative, NotNull, OneOrMore, Positive, Section, problem


class GradientClip(Section):
    """A limit for the gradients of a step; exactly one of its keys."""

    norm: Annotated[Positive | None, NotNull] = None
    """Largest norm of all gradients together; larger ones are scaled down."""

    value: Annotated[Positive | None, NotNull] = None
    """Largest magnitude of each element of a gradient."""

    @model_validator(mode="after")
    def _is_one_limit(self) -> Self:
        """Refuse no limit, and two."""
        if self.norm is None and self.value is None:
            raise PydanticCustomError("missing", "missing", {"at": ("norm",)})
        if self.norm is not None and self.value is not None:
            raise problem('none beside "norm"', "Keep one of them.", ("value",))
        return self


class EarlyStop(Section):
    """Ends a run whose held-out accuracy no longer grows; only epochs of the last stage count."""

    patience: Count
    """Epochs without a better accuracy after which the run ends."""

    min_delta: NotNegative = 0.0
    """Points of accuracy by which an epoch must be better to count."""


class OptimizationKeys(Section):
    """Top-level keys that `fxbin train` reads about its steps and epochs; `transform` reads none of them."""

    optimizer: Annotated[OptimizerValue, OptimizerKey()] = "Adam"
    """An optimizer of `torch.optim`, as a name or as `{name: "SGD", momentum: 0.9}`."""

    gradient_clip: Annotated[GradientClip | None, NotNull] = None
    """A limit for the gradients, in both phases; without it, none."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of training steps: autocast to 16 bits, with scaled losses for `float16`."""

    channels_last: Flag = False
    """Whether pictures and weights lie in memory channels last, which convolutions may run faster in."""

    parallel: Literal["ddp", "fsdp"] = "ddp"
    """On several processes, each has the whole model (`ddp`), or a share of its parameters (`fsdp`)."""

    compile: Flag = False
    """Whether training steps run through `torch.compile`, which compiles anew in each stage."""

    best_by: Literal["test_accuracy", "average_accuracy"] = "test_accuracy"
    """What decides which epoch of the final stage is kept in `best.pt`: accuracy, or that of the `ema`."""

    early_stop: Annotated[EarlyStop | None, NotNull] = None
    """Ends the run if `best_by` no longer grows in the last stage; without it, all epochs are trained."""

    loggers: Annotated[tuple[Annotated[LoggerValue, LoggerKey()], ...], OneOrMore, NotNull] = ()
    """Where metrics go besides `metrics.csv`: `tensorboard`, `wandb` or `mlflow`, with options."""
