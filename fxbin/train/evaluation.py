"""Evaluation on held-out pictures: each counts once, whatever the number of processes."""

import torch
from torch import nn

from fxbin.binarizers.ranks import rank_count, sum_over_ranks
from fxbin.train.data import Data
from fxbin.train.evaluated import evaluated_form
from fxbin.train.processes import own_rank


@torch.no_grad()
def accuracy_over_ranks(model: nn.Module, data: Data) -> float:
    """Percentage of the held-out pictures that `model` classifies correctly in eval mode.

    Pictures that cannot be read do not count. Each process evaluates some of the batches. They are computed
    by a deployed form of the model, which gives the same up to rounding, where that is faster for so many
    pictures. Its mode is restored afterwards.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        # By the number of all pictures: one process and several use the same form, so count the same.
        form = evaluated_form(model, data.held_out_pictures)
        counts = torch.zeros(2, dtype=torch.int64, device=device)  # of those that are right, and of all
        ranks = rank_count()
        for x, labels in data.held_out(own_rank() if ranks > 1 else 0, ranks):
            counts[0] += (form(x).argmax(1) == labels).sum()
            counts[1] += len(labels)
        correct, seen = map(int, sum_over_ranks(counts))
        return 100 * correct / seen
    finally:
        model.train(was_training)


@torch.no_grad()
def evaluate_as_it_is(model: nn.Module, data: Data) -> float:
    """Percentage of the held-out pictures that `model` itself classifies correctly in its present mode."""
    correct, seen = 0, 0
    for x, labels in data.held_out():
        correct += int((model(x).argmax(1) == labels).sum())
        seen += len(labels)
    return 100 * correct / seen
