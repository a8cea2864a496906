from collections.abc import Iterator

import pytest

from tests.distributed.two_ranks import TwoRanks


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[TwoRanks]:
    """Two processes that run the functions that tests give them; started once, as torch imports slowly."""
    ranks = TwoRanks()
    yield ranks
    ranks.close()
