from typing import Any

import pytest
import torch

from fxbin.errors import DataError
from fxbin.train.data.batches import Batches, random_shift


def batches(**options: Any) -> Batches:
    images = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 2, 5, 4).contiguous()
    return Batches(images, torch.arange(10), batch_size=4, **options)


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    parts = list(batches().epoch(0))
    assert [len(y) for _, y in parts] == [4, 4, 2] == [4] * (len(batches()) - 1) + [2]
    assert sorted(int(label) for _, y in parts for label in y) == list(range(10))
    assert all(torch.equal(x[:, 0, 0, 0], y.float()) for x, y in parts)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone() -> None:
    def content(seed: int, epoch: int) -> list[float]:
        torch.rand(3)  # whatever else draws random numbers
        return (
            torch.cat([x for x, _ in batches(seed=seed, shift=1, flip=True).epoch(epoch)]).flatten().tolist()
        )

    assert content(0, 1) == content(0, 1)
    assert content(0, 1) != content(0, 2)
    assert content(0, 1) != content(1, 1)


def test_shift_moves_within_its_limit_and_fills_with_the_darkest_value() -> None:
    x = torch.full((64, 1, 5, 5), -1.0)
    x[:, :, 2, 2] = 1.0
    moved = random_shift(x, 2, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    assert moved.flatten(1).sum(1).eq(-23).all()
    places = {tuple(place[2:]) for place in (moved == 1).nonzero().tolist()}
    assert len(places) > 15
    assert {row for row, _ in places} == {column for _, column in places} == {0, 1, 2, 3, 4}


def test_shift_keeps_channels_apart() -> None:
    x = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)]).expand(2, 2, 3, 3)
    moved = random_shift(x, 0, torch.Generator())
    assert torch.equal(moved, x)


def test_flip_mirrors_left_to_right() -> None:
    row = torch.tensor([0.0, 1.0, 2.0])
    images = row.expand(32, 1, 1, 3).contiguous()
    (x, _) = next(iter(Batches(images, torch.zeros(32), 32, flip=True).epoch(0)))
    rows = {tuple(picture.flatten().tolist()) for picture in x}
    assert rows == {(0.0, 1.0, 2.0), (2.0, 1.0, 0.0)}


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_parts_of_the_ranks_are_together_the_batch_of_one_process(ranks: int) -> None:
    options = {"shift": 1, "flip": True, "ranks": ranks}
    parts = [list(batches(rank=rank, **options).epoch(3)) for rank in range(ranks)]
    whole = list(batches(shift=1, flip=True).epoch(3))
    if ranks > 2:  # No rank goes without: the two images that are left over go to the batch before.
        (x1, y1), (x2, y2) = whole[1:]
        whole = [whole[0], (torch.cat([x1, x2]), torch.cat([y1, y2]))]
    assert [len(batches(rank=rank, **options)) for rank in range(ranks)] == [len(whole)] * ranks
    for batch, (_, y) in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat([part for _, part in batch]), y)
        sizes = [len(part) for _, part in batch]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > 0
    if ranks <= 2:
        for batch, (x, _) in zip(zip(*parts, strict=True), whole, strict=True):
            assert torch.equal(torch.cat([part for part, _ in batch]), x)


def test_more_ranks_than_images_are_refused() -> None:
    with pytest.raises(DataError, match="data: 10 training pictures are too few for 11 processes"):
        batches(ranks=11)


def test_batches_smaller_than_the_number_of_ranks_are_refused() -> None:
    with pytest.raises(DataError, match="batch_size: 4 is too small for 5 processes"):
        batches(ranks=5)
