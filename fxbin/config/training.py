"""Keys that `fxbin train` reads: the model, the data, and all of a run except binarization."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from fxbin.config.optimizer import OptimizerKey, OptimizerValue
from fxbin.config.value_types import (
    Count,
    Flag,
    NotNegative,
    NotNull,
    OneOrMore,
    Positive,
    Section,
    Seed,
    ShareBelowOne,
    Text,
    Whole,
    problem,
)


class Pretrain(Section):
    """Training of the full-precision model before `transform`, with a cosine schedule to 0."""

    epochs: Whole = 6
    """Epochs in full precision; 0 starts the stages from the model as it is built."""

    lr: Positive = 2e-3
    """Initial learning rate."""

    weight_decay: NotNegative = 1e-4
    """The optimizer's weight decay."""

    optimizer: Annotated[OptimizerValue | None, OptimizerKey()] = None
    """Its optimizer, as in the top-level `optimizer`, which it has by default."""

    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread over all classes. A teacher trained with it teaches less."""


class Teacher(Section):
    """A trained network to learn from instead of the full-precision model that is binarized."""

    model: Annotated[Text | None, NotNull] = None
    """The network, as in the top-level `model`; classes and images are those of the run."""

    model_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments for the function that makes it."""

    pretrained: Flag = False
    """Whether to use the model library's trained weights."""

    state_dict: Annotated[Text | None, NotNull] = None
    """File of its weights, as `torch.save(network.state_dict(), PATH)` writes it."""

    checkpoint: Annotated[Text | None, NotNull] = None
    """Instead of `model`: the `checkpoint.pt` of another run, whose network teaches."""

    network: Literal["full_precision", "binarized"] = "full_precision"
    """Which network of that run teaches: the one before its stages, or the one in them."""

    previous_stage: Flag = False
    """Instead of `model`: the network itself, as it was at the end of the previous stage (Real-to-Binary)."""

    @model_validator(mode="after")
    def _is_one_network(self) -> Self:
        """Refuse a teacher that is none, or two."""
        ways = {"model": self.model, "checkpoint": self.checkpoint, "previous_stage": self.previous_stage}
        given = [key for key, value in ways.items() if value]
        if not given:
            raise PydanticCustomError("missing", "missing", {"at": ("model",)})
        if len(given) > 1:
            raise problem(f"none beside {given[0]!r}", "Keep one of them.", (given[1],))
        for key in ("model_params", "pretrained", "state_dict"):
            if getattr(self, key) and self.model is None:
                raise problem(f"none beside {given[0]!r}", 'It belongs to a "model".', (key,))
        if self.network == "binarized" and self.checkpoint is None:
            raise problem('none without "checkpoint"', "Remove it, or name the run.", ("network",))
        return self

    @model_validator(mode="after")
    def _is_trained(self) -> Self:
        """Refuse a network without trained weights, unless it is the user's function, which may load some."""
        library, _, _ = (self.model or "").rpartition(":")
        if self.model and not (self.pretrained or self.state_dict or library.endswith(".py")):
            hint = 'Add "state_dict": "PATH of its weights", or "pretrained": true.'
            raise problem("a trained teacher", hint, ("model",))
        return self


class Distillation(Section):
    """Distillation: the binarized model learns from a network in full precision as well as from labels."""

    enabled: Flag = True
    """Whether there is a teacher."""

    teacher: Annotated[Teacher | None, NotNull] = None
    """A network of your own; without it, the full-precision model that was binarized."""

    type: Literal["softmax", "mse", "kl"] = "softmax"
    """Cross entropy with the teacher's predictions, squared error of the logits, or divergence (ReActNet)."""

    temperature: Positive = 1.0
    """Softens the predictions of both networks if above 1; not for `mse`."""

    weight: NotNegative = 1.0
    """Factor of the distillation loss, which is added to the loss on labels."""

    label_weight: NotNegative = 1.0
    """Factor of the loss on labels while there is a teacher; 0 learns from the teacher alone (ReActNet)."""

    features: Annotated[tuple[Text, ...], OneOrMore, NotNull] = ()
    """Modules after which the model is also to be active where the teacher is: `layer1`, `features.3`."""

    teacher_features: Annotated[tuple[Text, ...], OneOrMore, NotNull] = ()
    """The teacher's names for `features`, in the same order, if it has others."""

    feature_weight: Positive = 1.0
    """Factor of the distance of the attention maps (Real-to-Binary), summed over `features`."""

    @model_validator(mode="after")
    def _has_a_temperature(self) -> Self:
        """Refuse a temperature with the ``"mse"`` loss, which does not use it."""
        if self.type == "mse" and self.temperature != 1:
            hint = 'The squared error of logits has no temperature: remove it, or write "type": "softmax".'
            raise problem('none beside "type": "mse"', hint, ("temperature",))
        return self

    @model_validator(mode="after")
    def _has_something_to_learn(self) -> Self:
        """Refuse two weights of 0."""
        if self.enabled and self.weight == self.label_weight == 0 and not self.features:
            hint = 'Nothing would be left to learn from: raise one of them, or write "enabled": false.'
            raise problem('a number above 0 beside "weight": 0', hint, ("label_weight",))
        return self

    @model_validator(mode="after")
    def _has_pairs_of_features(self) -> Self:
        """Refuse lists that do not fit each other, a module named twice, and a weight for no features."""
        if len(set(self.features)) < len(self.features):
            raise problem("each module once", "Remove the second one.", ("features",))
        if self.teacher_features and len(self.teacher_features) != len(self.features):
            hint = f"There are {len(self.features)} of those."
            raise problem('as many names as in "features"', hint, ("teacher_features",))
        if self.feature_weight != 1 and not self.features:
            raise problem('none without "features"', "Remove it, or name modules.", ("feature_weight",))
        return self


class Ema(Section):
    """An exponential moving average of the parameters, evaluated and exported beside the last ones."""

    decay: Annotated[Positive, Field(lt=1)] = 0.999
    """Share of the average that each optimizer step keeps; smaller in the first steps of a stage."""

    batch_norm_batches: Count = 50
    """Training batches from which BatchNorm statistics of the average are computed in each epoch."""


class TrainingKeys(Section):
    """Top-level keys that `fxbin train` reads; `transform` reads none of them."""

    model: Annotated[Text | None, NotNull] = None
    """The model: `resnet_thin`, `torchvision:resnet18`, `timm:…`, `pytorchcv:…`, `path/file.py:callable`."""

    model_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments for the function that makes the model."""

    pretrained: Flag = False
    """Whether to start from the model library's trained weights."""

    num_classes: Annotated[Count | None, NotNull] = None
    """Number of outputs of the classifier; without it, the number of classes in the data."""

    batch_size: Count = 64
    """Images per training step."""

    epochs: Count = 90
    """Epochs of staged training, after `pretrain`."""

    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread over all classes, in the stages; evaluations have no loss."""

    seed: Seed = 0
    """Seed of all random numbers in a run."""

    threads: Annotated[Count | None, NotNull] = None
    """Number of CPU threads; without it, PyTorch's default."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` uses a GPU if there is one."""

    tensorboard: Flag = False
    """Whether to write the metrics of each epoch and call site for TensorBoard as well."""

    pretrain: Pretrain = Pretrain()
    """Full-precision training before the stages."""

    ema: Annotated[Ema | None, NotNull] = None
    """An average of the parameters in the stages, which starts anew with each; without it, none."""

    distillation: Distillation = Distillation()
    """Learning from a network in full precision."""

    @model_validator(mode="after")
    def _smooths_a_loss(self) -> Self:
        """Refuse smoothed labels that no loss uses."""
        if self.label_smoothing and self.distillation.enabled and self.distillation.label_weight == 0:
            hint = "The loss on labels counts nothing: remove the smoothing, or raise the weight."
            raise problem('0 beside "distillation": {"label_weight": 0}', hint, ("label_smoothing",))
        return self
