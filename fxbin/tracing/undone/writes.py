"""Undoes changes that the `train` method of a model makes to its weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private


@contextmanager
def writes_undone(root: nn.Module, act: Callable[[], Any]) -> Iterator[None]:
    """Run `act`, and at the end undo its changes of parameters and buffers of `root`.

    Some models, such as low-rank adapters, merge weights for eval mode and separate them again for train
    mode, which is not exact. A trace must not do that permanently.
    """
    held = [(tensor, tensor.data) for tensor in chain(root.parameters(), root.buffers())]
    with _WritesNoted() as noted:
        act()
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, content in reversed(noted.before):
                tensor.copy_(content)
            for tensor, data in held:
                if tensor.data_ptr() != data.data_ptr():
                    tensor.data = data


class _WritesNoted(torch_private.TorchDispatchMode):
    """Copies the content of tensors before an operator writes into them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        arguments = torch_private.schema(func).arguments
        given = {**dict(zip((a.name for a in arguments), args, strict=False)), **(kwargs or {})}
        for argument in arguments:
            written = given.get(argument.name)
            if argument.is_write and isinstance(written, Tensor):
                self.before.append((written, written.clone()))
        return func(*args, **(kwargs or {}))
