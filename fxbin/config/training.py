"""Keys that `fxbin train` reads: the model, the data, and everything about a run but binarization."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from fxbin.config.value_types import (
    Count,
    Flag,
    NotNegative,
    NotNull,
    Positive,
    Section,
    Text,
    Whole,
    problem,
)


class Pretrain(Section):
    """Training of the full-precision model before `transform`: Adam, cosine schedule to 0."""

    epochs: Whole = 6
    """Epochs in full precision; 0 starts the stages from the model as it is built."""

    lr: Positive = 2e-3
    """First learning rate."""

    weight_decay: NotNegative = 1e-4
    """Adam's weight decay."""


class Teacher(Section):
    """A trained network to learn from instead of the full-precision model that is binarized."""

    model: Text
    """The network, as in the top-level `model`; the classes and the pictures are those of the run."""

    model_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments for the function that makes it."""

    pretrained: Flag = False
    """Whether to take the model library's trained weights."""

    state_dict: Annotated[Text | None, NotNull] = None
    """File of its weights, as `torch.save(network.state_dict(), PATH)` writes it."""

    @model_validator(mode="after")
    def _is_trained(self) -> Self:
        """Refuse a network that knows nothing; a function of the user's own may load weights itself."""
        library, _, _ = self.model.rpartition(":")
        if not (self.pretrained or self.state_dict or library.endswith(".py")):
            hint = 'Add "state_dict": "PATH of its weights", or "pretrained": true.'
            raise problem("a trained teacher", hint, ("model",))
        return self


class Distillation(Section):
    """How much the binarized model learns from a network in full precision beside the labels."""

    enabled: Flag = True
    """Whether there is a teacher."""

    teacher: Annotated[Teacher | None, NotNull] = None
    """A network of your own; without it, the full-precision model that was binarized."""

    type: Literal["softmax", "mse"] = "softmax"
    """Cross entropy with the teacher's predictions, or the squared error of the logits; as in NNCF."""

    temperature: Positive = 1.0
    """Above 1, the teacher's second choices count for more; for `softmax` only."""

    weight: NotNegative = 1.0
    """Factor of the distillation loss beside the loss on labels."""

    @model_validator(mode="after")
    def _has_a_temperature(self) -> Self:
        """Refuse a temperature that nothing would read."""
        if self.type == "mse" and self.temperature != 1:
            hint = 'The squared error of logits has no temperature: remove it, or write "type": "softmax".'
            raise problem('none beside "type": "mse"', hint, ("temperature",))
        return self


class Augmentation(Section):
    """What is done to training pictures."""

    shift: Whole = 0
    """Largest random shift in each direction, pixels."""

    flip: Flag = False
    """Whether to mirror every other picture left to right."""


class TrainingKeys(Section):
    """Top-level keys that `fxbin train` reads; `transform` reads none of them."""

    model: Annotated[Text | None, NotNull] = None
    """The model: `resnet_thin`, `torchvision:resnet18`, `timm:…`, `pytorchcv:…`, `path/file.py:callable`."""

    model_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments for the function that makes the model."""

    pretrained: Flag = False
    """Whether to start from the model library's trained weights."""

    num_classes: Annotated[Count | None, NotNull] = None
    """Width of the classifier; without it, the classes of the data."""

    data: Text = "mnist"
    """The data set: `mnist` (5 000 pictures, comes with the install) or `fashion-mnist`."""

    data_dir: Annotated[Text | None, NotNull] = None
    """Folder of the data set's files, if not where its package installs them."""

    batch_size: Count = 64
    """Pictures per training step."""

    epochs: Count = 90
    """Epochs of staged training, after `pretrain`."""

    seed: Whole = 0
    """Start of all random numbers of a run."""

    threads: Annotated[Count | None, NotNull] = None
    """CPU threads; without it, PyTorch's choice."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU if there is one."""

    tensorboard: Flag = False
    """Whether to write the figures of each epoch and call site for TensorBoard, too."""

    pretrain: Pretrain = Pretrain()
    """Full-precision training before the stages."""

    augmentation: Augmentation = Augmentation()
    """Shifted and mirrored training pictures."""

    distillation: Distillation = Distillation()
    """Learning from a network in full precision."""
