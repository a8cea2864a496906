"""Which pictures are held out, where nothing else says it."""

import torch
from torch import Tensor


def stratified_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the indices of `labels` ``(n,)`` in two: all but `share` of each class, and that share.

    Which ones is drawn with `seed`; both results are in ascending order.

    >>> train, test = stratified_split(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
    >>> len(train), len(test)
    (6, 2)
    """
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        held_out[members[order[: round(share * len(members))]]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def classes_without(labels: Tensor, names: tuple[str, ...]) -> list[str]:
    """The classes that none of `labels` is of."""
    counts = labels.bincount(minlength=len(names))
    return [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
