"""One pass over the training images, and the measuring of accuracy after it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import unwrapped
from fxbin.binarizers.ranks import rank_count, sum_over_ranks
from fxbin.diagnostics.nonfinite import first_nonfinite
from fxbin.errors import DataError

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""loss(logits, x, labels), a mean over the batch."""

EVALUATION_BATCH = 500


@dataclass
class Meter:
    """Running means over the images of an epoch."""

    images: int = 0
    total_loss: float = 0.0
    correct: int = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch whose mean loss is `loss`."""
        self.images += len(labels)
        self.total_loss += loss.item() * len(labels)
        self.correct += int((logits.argmax(1) == labels).sum())

    def over_ranks(self, device: torch.device) -> "Meter":
        """The means over the images of all processes."""
        if rank_count() == 1:
            return self
        own = torch.tensor([self.images, self.total_loss, self.correct], dtype=torch.float64, device=device)
        images, total_loss, correct = sum_over_ranks(own).tolist()
        return Meter(int(images), total_loss, int(correct))

    @property
    def loss(self) -> float:
        """Mean loss of an image."""
        return self.total_loss / max(self.images, 1)

    @property
    def accuracy(self) -> float:
        """Per cent of the images that were classified right."""
        return 100 * self.correct / max(self.images, 1)


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    loss_function: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    accumulate: int = 1,
    on_batch: Callable[[Meter, int], None] = lambda _meter, _batches: None,
    on_step: Callable[[int], None] = lambda _batches: None,
) -> Meter:
    """Train on `batches` once; every `accumulate` of them give one optimizer step.

    The gradient of a step is that of the mean loss over all its images, as if they had been one
    batch (batch norm still sees the parts). A last, shorter group is averaged over what it has.
    With `DistributedDataParallel` the batch is that of all processes together, and so is the result.
    After each step `on_step` gets the number of batches so far; after each batch, `on_batch` too.

    Raises DataError if the loss is not a number any more, or if there are no batches.
    """
    model.train()
    meter, done = Meter(), 0
    for group in grouped(batches, accumulate):
        images = images_of_a_rank(group)
        optimizer.zero_grad()
        for index, (x, labels) in enumerate(group):
            more = index < len(group) - 1
            with model.no_sync() if more and isinstance(model, DistributedDataParallel) else nullcontext():
                logits = model(x)
                loss = loss_function(logits, x, labels)
                if not torch.isfinite(loss):
                    raise DataError(
                        f"the loss became {loss.item()} in batch {done + 1}{begins_in(model, x)}: "
                        "lower base_lr (pretrain.lr in the full-precision phase)."
                    )
                (loss * (len(labels) / images)).backward()
            done += 1
            meter.add(loss.detach(), logits.detach(), labels)
            on_batch(meter, done)
        optimizer.step()
        on_step(done)
    if not done:
        raise DataError("batches: there were none, so nothing was trained. Is the iterator used up?")
    return meter.over_ranks(next(model.parameters()).device)


def begins_in(model: nn.Module, x: Tensor) -> str:
    """For an error message: where in a transformed model the first NaN or infinity comes up with `x`."""
    inner = unwrapped(model)
    found = first_nonfinite(inner, x) if isinstance(inner, BinarizedModule) else None
    return f" (the first value that is not finite is in {found})" if found else ""


def images_of_a_rank(group: list[Batch]) -> float:
    """Images in `group`; with several processes their mean over these, as gradients are means too."""
    own = sum(len(labels) for _, labels in group)
    if rank_count() == 1:
        return own
    return int(sum_over_ranks(torch.tensor(own, device=group[0][1].device))) / rank_count()


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of `size` batches, the last one as short as it comes."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The logits ``(n, classes)`` of all `images` in eval mode; the mode is put back afterwards."""
    was_training = model.training
    model.eval()
    try:
        return torch.cat([model(part) for part in images.split(EVALUATION_BATCH)])
    finally:
        model.train(was_training)


def accuracy_over_ranks(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Per cent of `images` that `model` puts in the right class; each process looks at a part of them."""
    ranks = rank_count()
    rank = distributed.get_rank() if ranks > 1 else 0
    mine = slice(rank, None, ranks)
    correct = (predict(model, images[mine]).argmax(1) == labels[mine]).sum()
    return 100 * int(sum_over_ranks(correct)) / len(labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Per cent of rows whose largest logit is the label's.

    >>> accuracy(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    50.0
    """
    return 100 * int((logits.argmax(1) == labels).sum()) / len(labels)
