"""Held-out accuracy of a trained network, class by class, on any data with its classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.config import Config
from fxbin.config.data import Pictures
from fxbin.errors import DataError
from fxbin.errors.messages import listed
from fxbin.train.data import Data
from fxbin.train.data.included import is_in_memory
from fxbin.train.data.kept import class_names, preprocessing
from fxbin.train.evaluated import evaluated_form


@dataclass(frozen=True)
class ClassAccuracy:
    """How many pictures of one class there are, and how many of them are classified correctly."""

    name: str
    pictures: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """In per cent; None without pictures."""
        return 100 * self.correct / self.pictures if self.pictures else None


@dataclass(frozen=True)
class HeldOutAccuracy:
    """The result of an evaluation."""

    classes: tuple[ClassAccuracy, ...]
    """Each class, by the network's labels."""

    @property
    def pictures(self) -> int:
        """Number of pictures, of all classes."""
        return sum(each.pictures for each in self.classes)

    @property
    def correct(self) -> int:
        """Number of pictures that are classified correctly."""
        return sum(each.correct for each in self.classes)

    @property
    def accuracy(self) -> float:
        """In per cent of all pictures."""
        return 100 * self.correct / max(self.pictures, 1)


def with_kept_preprocessing(config: Config, kept: Mapping[str, Any] | None) -> Config:
    """`config`, whose pictures become inputs as they did in the training that kept `kept`.

    Mean and deviation of other data would be other numbers than those that the network was trained with.
    """
    known = preprocessing(kept)
    if is_in_memory(config.data):
        # Kept in memory as they are: not even the defaults, which a checkpoint spells out, may be given.
        return config.model_copy(update={"pictures": Pictures()})
    if known is None:
        return config
    pictures = Pictures(
        resize=known.resize,
        interpolation=known.interpolation,
        mean=known.mean,
        std=known.std,
    )
    return config.model_copy(update={"pictures": pictures})


def preprocessed_as_begun(config: Config, kept: Mapping[str, Any] | None) -> Config:
    """`config`, whose pictures become inputs as when a run with this config was started, which kept `kept`.

    Mean and deviation are not computed again: of changed training pictures, they would be other numbers.
    A config for pictures of another size stays as it is.
    """
    known = preprocessing(kept)
    sizes = [tuple(info.sample_size[1:]) for info in config.input_info[:1]]
    if known is None or is_in_memory(config.data) or sizes != [(known.channels, known.height, known.width)]:
        return config
    return with_kept_preprocessing(config, kept)


def held_out_source(data: str, held_out: str | None) -> str:
    """What held-out pictures are read from by the config keys `data` and `data_held_out`, as keys name it.

    >>> held_out_source("wds:train-{0..9}.tar", "val-0.tar")
    'wds:val-0.tar'
    >>> held_out_source("torchvision:SVHN", "extra")
    "torchvision:SVHN, split 'extra'"
    """
    kind = data.partition(":")[0]
    if held_out is None:
        return data
    if kind in ("folder", "wds"):
        return held_out if held_out.startswith(f"{kind}:") else f"{kind}:{held_out}"
    return f"{data}, split {held_out!r}"


def labels_of_network(data: Data, kept: Mapping[str, Any] | None) -> Tensor | None:
    """For each label of `data`, that of the class of this name in the network; None if they are the same.

    Raises DataError if the data have classes that the network does not know.
    """
    known, names = class_names(kept), tuple(data.class_names)
    if known is None or known == names:
        return None
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(
            f"data: {data.name!r} has classes that the network was not trained on: {listed(unknown)}. It "
            f"knows {listed(known)}."
        )
    return torch.tensor([known.index(name) for name in names])


@torch.no_grad()
def accuracy_by_class(
    model: nn.Module, data: Data, names: Sequence[str], labels: Tensor | None = None
) -> HeldOutAccuracy:
    """Evaluate `model`, which is in eval mode, on all held-out pictures of `data`, which are on its device.

    `names` are those of the network's classes, and `labels` is what `labels_of_network` returned.
    """
    form = evaluated_form(model, data.held_out_pictures)
    count = len(names)
    pictures, correct = torch.zeros(2, count, dtype=torch.int64)
    for x, batch in data.held_out():
        target = (batch if labels is None else labels.to(batch.device)[batch]).cpu()
        right = form(x).argmax(1).cpu() == target
        pictures += torch.bincount(target, minlength=count)
        correct += torch.bincount(target[right], minlength=count)
    rows = zip(names, pictures.tolist(), correct.tolist(), strict=True)
    return HeldOutAccuracy(tuple(ClassAccuracy(*row) for row in rows))
