"""Powers of two that keep equal constants apart."""

import torch

from fxbin.export.distinct import DistinctLevels


def test_equal_constants_get_different_powers_of_two() -> None:
    distinct = DistinctLevels()
    a, b, v, w = (torch.full((2,), float(value)) for value in range(4))
    assert distinct.factor((a,), (v,)) == 1
    assert distinct.factor((b,), (w,)) == 1
    assert distinct.factor((a,), (w,)) == 2  # 1 is taken by both of them
    assert distinct.factor((b,), (v,)) == 2
    assert distinct.factor((a,), (v,)) == 4
    assert distinct.factor((a.view(1, 2),), (torch.ones(5),)) == 1  # another shape is another constant
