"""One training epoch, and the evaluation after it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import unwrapped
from fxbin.binarizers.ranks import rank_count, sum_over_ranks
from fxbin.diagnostics.nonfinite import first_nonfinite
from fxbin.errors import DataError
from fxbin.train.data.interface import EVALUATION_BATCH, Batch
from fxbin.train.evaluated import evaluated_form

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``loss(logits, x, labels)``: a scalar, the mean over the batch.

An attribute `parts`, as `DistillationLoss` has one, tells by name what the last value consists of.
"""


@dataclass
class Meter:
    """Mean loss and accuracy over the images of an epoch so far."""

    images: int = 0
    """Number of images."""

    total_loss: float = 0.0
    """Sum of the losses of the images."""

    correct: int = 0
    """Number of images that were classified correctly."""

    total_parts: dict[str, float] = field(default_factory=dict)
    """Sums over the images of what their losses consist of, by name."""

    def add(
        self, loss: Tensor, logits: Tensor, labels: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> None:
        """Count one batch whose mean loss is `loss`, which consists of `parts`."""
        self.images += len(labels)
        self.total_loss += loss.item() * len(labels)
        most = labels.argmax(1) if labels.is_floating_point() else labels
        self.correct += int((logits.argmax(1) == most).sum())
        for name, part in (parts or {}).items():
            self.total_parts[name] = self.total_parts.get(name, 0.0) + part.item() * len(labels)

    def over_ranks(self, device: torch.device) -> "Meter":
        """Return a meter over the images of all processes; all must call it."""
        if rank_count() == 1:
            return self
        values = [self.images, self.total_loss, self.correct, *self.total_parts.values()]
        own = torch.tensor(values, dtype=torch.float64, device=device)
        images, total_loss, correct, *parts = sum_over_ranks(own).tolist()
        # All ranks have the same loss function, so their parts have the same names in the same order.
        return Meter(int(images), total_loss, int(correct), dict(zip(self.total_parts, parts, strict=True)))

    @property
    def loss(self) -> float:
        """Mean loss per image; 0 without images."""
        return self.total_loss / max(self.images, 1)

    @property
    def parts(self) -> dict[str, float]:
        """Means per image of what the loss consists of, before its weights."""
        return {name: total / max(self.images, 1) for name, total in self.total_parts.items()}

    @property
    def accuracy(self) -> float:
        """Percentage of the images that were classified correctly."""
        return 100 * self.correct / max(self.images, 1)


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    loss_function: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    accumulate: int = 1,
    meter: Meter | None = None,
    done: int = 0,
    on_batch: Callable[[Meter, int], None] = lambda _meter, _batches: None,
    on_step: Callable[[int], None] = lambda _batches: None,
) -> Meter:
    """Train on all `batches` once, with one optimizer step for every `accumulate` batches.

    The gradient of a step is that of the mean loss over all its images, as if they were one batch (BatchNorm
    still sees the separate batches). A last, shorter group is averaged over its own images.
    With `DistributedDataParallel` a batch is that of all processes together, and so is the result.
    An epoch that was begun before goes on with its `meter` and the number of batches that are `done`.
    `on_batch` is called with the meter and the number of batches so far after each batch, `on_step` with
    that number after each optimizer step.

    Raises DataError if the loss is not finite, or if there are no batches.
    """
    model.train()
    meter = Meter() if meter is None else meter
    before = done
    for group in grouped(batches, accumulate):
        images = images_of_a_rank(group)
        optimizer.zero_grad()
        for index, (x, labels) in enumerate(group):
            more = index < len(group) - 1
            with model.no_sync() if more and isinstance(model, DistributedDataParallel) else nullcontext():
                logits = model(x)
                loss = loss_function(logits, x, labels)
                check_finite(loss, done + 1, model, x)
                (loss * (len(labels) / images)).backward()
            done += 1
            meter.add(loss.detach(), logits.detach(), labels, getattr(loss_function, "parts", None))
            on_batch(meter, done)
        optimizer.step()
        on_step(done)
    if done == before:
        raise DataError("batches: there were none, so nothing was trained. Is the iterator used up?")
    return meter.over_ranks(next(model.parameters()).device)


def check_finite(loss: Tensor, batch: int, model: nn.Module, x: Tensor) -> None:
    """Raise DataError if the `loss` of `x`, batch number `batch`, is not finite."""
    if not torch.isfinite(loss):
        raise DataError(
            f"the loss became {loss.item()} in batch {batch}{begins_in(model, x)}: "
            "lower base_lr (pretrain.lr in the full-precision phase)."
        )


def begins_in(model: nn.Module, x: Tensor) -> str:
    """For an error message: where in a transformed model `x` gives the first value that is not finite."""
    inner = unwrapped(model)
    found = first_nonfinite(inner, x) if isinstance(inner, BinarizedModule) else None
    return f" (the first value that is not finite is in {found})" if found else ""


def images_of_a_rank(group: list[Batch]) -> float:
    """Number of images in `group`; its mean over the processes, because gradients are means as well."""
    own = sum(len(labels) for _, labels in group)
    if rank_count() == 1:
        return own
    return int(sum_over_ranks(torch.tensor(own, device=group[0][1].device))) / rank_count()


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield `batches` in lists of `size`; the last list may be shorter."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The logits ``(n, classes)`` of all `images` in eval mode; the model's mode is restored afterwards.

    They may be computed by a deployed form of the model, which gives the same up to rounding.
    """
    was_training = model.training
    model.eval()
    try:
        return predict_as_it_is(evaluated_form(model, len(images)), images)
    finally:
        model.train(was_training)


def predict_as_it_is(model: nn.Module, images: Tensor) -> Tensor:
    """The logits ``(n, classes)`` of all `images`, computed by `model` itself in its present mode."""
    return torch.cat([model(part) for part in images.split(EVALUATION_BATCH)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Percentage of the rows of `logits` ``(n, classes)`` whose largest entry is that of the label.

    >>> accuracy(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    50.0
    """
    return 100 * int((logits.argmax(1) == labels).sum()) / len(labels)
