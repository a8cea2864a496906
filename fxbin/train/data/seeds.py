"""Random numbers that follow from what they are for, so that any of them can be repeated alone."""

import random
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch


def seed_of(*parts: int) -> int:
    """A seed below 2 ** 63 that depends on all `parts` (64-bit integers) and on their order.

    >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
    (True, False)
    """
    packed = struct.pack(f"<{len(parts)}q", *parts)
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little") >> 1


def generator_of(*parts: int) -> torch.Generator:
    """A generator on the CPU, whose random numbers are the same on every machine, seeded by `parts`."""
    return torch.Generator().manual_seed(seed_of(*parts))


def seed_globally(*parts: int) -> None:
    """Seed the generators that transforms draw from: torch's on the CPU, Python's, and numpy's."""
    seed = seed_of(*parts)
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put back the state of the global generators that `seed_globally` seeds when the block ends."""
    numpy = sys.modules.get("numpy")
    state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        random.setstate(python_state)
        if numpy is not None and numpy_state is not None:
            numpy.random.set_state(numpy_state)
