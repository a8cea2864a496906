"""Which modules the code of a module can get at, and so change while it is traced."""

from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from fxbin.original.closures import WEAK, referent, variables


def reachable(module: nn.Module) -> Iterator[nn.Module]:
    """`module`, what is below it, and what any of these holds, in a list, as a method or in a closure.

    A part of a large model mostly reaches little of it, unless it knows its parent. Hooks of `module` itself
    are not asked: they run around its forward.
    """
    yield module
    inside = [value for name, value in vars(module).items() if name not in HOOKS]
    for item in _walk(inside, _WITHOUT_MODULES, {id(module)}):
        if issubclass(type(item), nn.Module):
            yield item


def held_by(owners: Iterable[Any]) -> Iterator[Any]:
    """What modules and classes hold that is no module, in lists, as methods or in closures too; each once."""
    values = [value for owner in owners for value in vars(owner).values()]
    return _walk(values, (*_WITHOUT_MODULES, nn.Module), set())


def _walk(pending: list[Any], without: tuple[type, ...], seen: set[int]) -> Iterator[Any]:
    """`pending`, and what is held by that, each once; nothing of a class in `without`."""
    while pending:
        item = pending.pop()
        if issubclass(type(item), without) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending += _held(item)


def holds_any(item: Any, kinds: tuple[type, ...]) -> bool:
    """Whether `item`, no container, holds something of exactly one of `kinds`.

    In an attribute, as a method or in a closure; what modules hold does not count.
    """
    without = tuple(kind for kind in _WITHOUT_MODULES if kind is not Tensor)
    return any(type(x) in kinds for x in _walk([item], (*without, nn.Module), set()))


HOOKS = tuple(name for name in vars(nn.Module()) if name.startswith(("_forward_", "_backward_")))
"""Attributes of each module with what runs around its forward."""

CALLED_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Those with the functions; the others say how they are called."""

_WITHOUT_MODULES = (type(None), bool, int, float, str, bytes, Tensor, type, ModuleType)


def _held(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    if isinstance(item, list | tuple | set | frozenset):
        return item
    if isinstance(item, MethodType):
        return (item.__self__, item.__func__)
    if isinstance(item, partial):
        return (item.func, *item.args, *item.keywords.values())
    if isinstance(item, FunctionType):
        return (
            *(held for _, held in variables(item)),
            *(item.__defaults__ or ()),
            *(item.__kwdefaults__ or {}).values(),
        )
    if issubclass(type(item), WEAK):
        return (referent(item),)
    attributes = getattr(item, "__dict__", None)
    return attributes.values() if isinstance(attributes, dict) else ()
