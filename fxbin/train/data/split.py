"""Which pictures are held out, where nothing else says it."""

from collections.abc import Iterable
from hashlib import blake2b

import torch
from torch import Tensor

from fxbin.errors import DataError


def stratified_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the indices of `labels` ``(n,)`` in two: all but `share` of each class, and that share.

    Which ones is drawn with `seed`, and depends on all `labels`: it is for data that never change.
    Both results are in ascending order.

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


def split_by_name(
    labels: Tensor, names: Iterable[str], share: float, seed: int, where: str
) -> tuple[Tensor, Tensor]:
    """Split the pictures with `labels` ``(n,)`` in two, by their `names`; the indices of both in order.

    Of each class `share`, rounded, is held out, but at least a picture, and at least one is trained on; a
    class of one picture is trained on. They are those that come first when the class is ordered by a hash of
    `seed` and the name, so that a picture added or removed moves at most one of the others to the other side.

    Raises DataError if no class of the data set, which messages call `where`, has more than a picture.

    >>> split_by_name(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), "abcdefgh", 0.25, 0, "it")
    (tensor([0, 1, 2, 4, 5, 7]), tensor([3, 6]))
    """
    key = seed.to_bytes(8, "little")
    hashes = [
        int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, key=key).digest())
        for name in names
    ]
    # Signed, as torch has few operations for unsigned numbers.
    order = torch.tensor([value - 2**63 for value in hashes], dtype=torch.int64).argsort(stable=True)
    in_order = labels[order]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = order[in_order == label]
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held_out[members[:count]] = True
    if not held_out.any():
        raise DataError(
            f"held_out_share: {share:g} of each class in {where} cannot be held out, as no class has two "
            "pictures: add some, or name held-out pictures with data_held_out."
        )
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def identity_of(names: Iterable[str]) -> str:
    """A text by which the pictures with these `names` are recognized, whatever their order.

    >>> identity_of(["a", "b"]) == identity_of(["b", "a"]), identity_of(["a", "b"]) == identity_of(["ab"])
    (True, False)
    """
    whole = blake2b(digest_size=16)
    for name in sorted(names):
        whole.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return whole.hexdigest()


def classes_without(labels: Tensor, names: tuple[str, ...]) -> list[str]:
    """The classes that none of `labels` is of."""
    counts = labels.bincount(minlength=len(names))
    return [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
