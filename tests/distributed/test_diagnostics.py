"""Diagnostics on two processes."""

from typing import Any

from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import fxbin
from tests.distributed.training import network, train
from tests.distributed.two_ranks import TwoRanks


def watch(over_ranks: bool) -> dict[str, Any]:
    model = network()
    wrapped = DistributedDataParallel(model)
    with fxbin.Diagnostics(wrapped) as seen:
        train(model, wrapped)
        return seen.report(over_ranks=over_ranks).to_dict()


def test_over_ranks_they_are_those_of_one_process_with_the_whole_batch(two_ranks: TwoRanks) -> None:
    one, other = two_ranks(watch, True)
    assert one == other
    model = network()
    with fxbin.Diagnostics(model) as seen:
        train(model, model)
        alone = seen.report().to_dict()
    for found, expected in zip(one["sites"], alone["sites"], strict=True):
        assert found.pop("name") == expected.pop("name")
        assert_close(found, expected, rtol=1e-2, atol=1e-3)


def test_else_only_what_fires_is_of_the_own_rank(two_ranks: TwoRanks) -> None:
    one, other = two_ranks(watch, False)
    differ = {k for a, b in zip(one["sites"], other["sites"], strict=True) for k in a if a[k] != b[k]}
    assert differ <= {"fired", "silent_channels"}
    assert "fired" in differ
