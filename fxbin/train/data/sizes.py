"""How an epoch is divided into batches, and a batch among processes."""

from fxbin.errors import DataError


def batch_sizes(pictures: int, batch_size: int, ranks: int, least: int = 1) -> list[int]:
    """Sizes of the batches of all processes together.

    Left-over pictures form a last, smaller batch, unless a rank would get fewer than `least` of them.

    >>> batch_sizes(10, 4, ranks=1), batch_sizes(10, 4, ranks=3)
    ([4, 4, 2], [4, 6])
    """
    whole, rest = divmod(pictures, batch_size)
    sizes = [batch_size] * whole
    if rest >= least * ranks or not whole:
        return [*sizes, rest] if rest else sizes
    sizes[-1] += rest
    return sizes


def part_size(size: int, rank: int, ranks: int) -> int:
    """How many of `size` pictures process `rank` of `ranks` gets, as `Tensor.tensor_split` divides them.

    >>> [part_size(5, rank, 2) for rank in range(2)]
    [3, 2]
    """
    return size // ranks + (rank < size % ranks)


def check_enough(pictures: int, batch_size: int, ranks: int) -> None:
    """Raise DataError if a process would get no picture of a batch."""
    if pictures < ranks:
        raise DataError(
            f"data: {pictures} training pictures are too few for {ranks} processes. Start fewer processes."
        )
    if batch_size < ranks:
        raise DataError(
            f"batch_size: {batch_size} is too small for {ranks} processes, as each needs a picture of each "
            "batch. Make it larger, or start fewer processes."
        )
