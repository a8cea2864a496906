"""Packing of signs into bytes."""

import numpy as np
import pytest

from fxbin.export.packed_weights import pack_signs, sign_table


@pytest.mark.parametrize("shape", [(8,), (3, 5, 1, 1), (16, 8, 3, 3), (1, 1, 1, 1)])
def test_the_table_gives_back_the_signs(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape)
    rows = sign_table(np.dtype(np.float32))[pack_signs(weight)]
    assert np.array_equal(rows.reshape(-1)[: weight.size].reshape(shape), np.where(weight > 0, 1, -1))


def test_only_values_above_zero_are_set_and_the_first_is_the_highest_bit() -> None:
    weight = np.array([1.0, 0.0, -0.0, np.nan, -1.0, np.inf, -np.inf, 1e-45, 2.0])
    assert pack_signs(weight).tolist() == [0b10000101, 0b10000000]
