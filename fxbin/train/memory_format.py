"""Pictures whose channels lie next to each other in memory."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def channels_last(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `batches` ``(x, labels)``, each x ``(n, c, h, w)`` laid out channels last."""
    for x, labels in batches:
        yield (x.to(memory_format=torch.channels_last) if x.dim() == 4 else x), labels
