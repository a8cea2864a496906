"""One training epoch, and the evaluation after it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import islice

import torch
from torch import Tensor, nn

from fxbin.binarizers.ranks import rank_count, sum_over_ranks
from fxbin.errors import DataError
from fxbin.train.compiled import parallel_of
from fxbin.train.data.interface import EVALUATION_BATCH, Batch
from fxbin.train.evaluated import evaluated_form
from fxbin.train.finite_loss import FiniteLosses
from fxbin.train.meter import Meter
from fxbin.train.optimizer_step import OptimizerStep

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``loss(logits, x, labels)``: a scalar, the mean over the batch.

An attribute `parts`, as `DistillationLoss` has one, tells by name what the last value consists of.
"""


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    loss_function: Loss,
    optimizer: torch.optim.Optimizer | OptimizerStep,
    *,
    accumulate: int = 1,
    meter: Meter | None = None,
    done: int = 0,
    on_batch: Callable[[Meter, int], None] = lambda _meter, _batches: None,
    on_step: Callable[[int, bool], None] = lambda _batches, _made: None,
) -> Meter:
    """Train on all `batches` once, with one optimizer step for every `accumulate` batches.

    The gradient of a step is that of the mean loss over all its images, as if they were one batch (BatchNorm
    still sees the separate batches). A last, shorter group is averaged over its own images.
    With `DistributedDataParallel` a batch is that of all processes together, and so is the result.
    An epoch that was begun before goes on with its `meter` and the number of batches that are `done`.
    `on_batch` is called with the meter and the number of batches so far after each batch, `on_step` with
    that number after each optimizer step, and whether the step was made. An `OptimizerStep` says in which
    precision forwards run, and how steps are made.

    Raises DataError if the loss is not finite, or if there are no batches.
    """
    model.train()
    step = optimizer if isinstance(optimizer, OptimizerStep) else OptimizerStep(optimizer)
    meter = Meter() if meter is None else meter
    losses, before, parallel = FiniteLosses(), done, parallel_of(model)
    for group in grouped(batches, accumulate):
        images = images_of_a_rank(group)
        step.optimizer.zero_grad()
        for index, (x, labels) in enumerate(group):
            done += 1
            more = index < len(group) - 1
            with parallel.no_sync() if more and parallel is not None else nullcontext():
                loss, logits = loss_of_batch(model, x, labels, loss_function, step)
                if not step.may_skip:
                    losses.add(loss, done, model, x)
                step.backward(loss * share(labels, images, loss))
            if not step.may_skip or torch.isfinite(loss):
                meter.add(loss.detach(), logits.detach(), labels, getattr(loss_function, "parts", None))
            on_batch(meter, done)
        on_step(done, step.step())
    if done == before:
        raise DataError("batches: there were none, so nothing was trained. Is the iterator used up?")
    losses.check()
    return meter.over_ranks(next(model.parameters()).device)


def loss_of_batch(
    model: nn.Module, x: Tensor, labels: Tensor, loss_function: Loss, step: OptimizerStep
) -> tuple[Tensor, Tensor]:
    """Loss and logits of one batch, in the precision of `step`."""
    with step.forward():
        logits = step.logits(model(x))
        return loss_function(logits, x, labels), logits


def images_of_a_rank(group: list[Batch]) -> float | Tensor:
    """Number of images in `group`; its mean over the processes, because gradients are means as well.

    With several processes it is a tensor, so that no GPU is waited for.
    """
    own = sum(len(labels) for _, labels in group)
    if rank_count() == 1:
        return own
    device = group[0][1].device
    return sum_over_ranks(torch.tensor(own, dtype=torch.float64, device=device)) / rank_count()


def share(labels: Tensor, images: float | Tensor, loss: Tensor) -> float | Tensor:
    """The share of a step's `images` that are those of `labels`, as a factor of their `loss`."""
    # Divided in float64, and rounded as a Python number is when it meets a tensor.
    found = len(labels) / images
    return found.to(loss.dtype) if isinstance(found, Tensor) else found


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
