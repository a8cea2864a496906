"""Finds the modules that the code of a module can reach, and so change while it is traced."""

from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from fxbin.original.closures import WEAK, referent, variables
from fxbin.original.contained import values_in


def reachable(module: nn.Module) -> Iterator[nn.Module]:
    """Yield `module` and all modules that it can reach: through attributes, containers, methods and closures.

    A part of a large model mostly reaches only a little of it, unless it refers to its parent. Hooks of
    `module` itself do not count, because they run around its forward.
    """
    yield module
    inside = [value for name, value in vars(module).items() if name not in HOOKS]
    for item in _walk(inside, _WITHOUT_MODULES, {id(module)}):
        if issubclass(type(item), nn.Module):
            yield item


def values_held_by(owners: Iterable[Any]) -> Iterator[Any]:
    """Yield all values except modules that `owners`, modules and classes, hold directly or indirectly.

    Indirectly means in containers, attributes, methods or closures. No value is yielded twice.
    """
    values = [value for owner in owners for value in vars(owner).values()]
    return _walk(values, (*_WITHOUT_MODULES, nn.Module), set())


def _walk(pending: list[Any], without: tuple[type, ...], seen: set[int]) -> Iterator[Any]:
    """Yield the values in `pending` and all that they hold, each once, but none of the types `without`."""
    while pending:
        item = pending.pop()
        if issubclass(type(item), without) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending.extend(_held(item))  # += would leave it to a traced size, which is a tuple


def holds_any(item: Any, kinds: tuple[type, ...]) -> bool:
    """Whether `item`, which is not a container, holds an object of exactly one of the types `kinds`.

    It may be in an attribute, a method or a closure; contents of modules do not count.
    """
    without = tuple(kind for kind in _WITHOUT_MODULES if kind is not Tensor)
    return any(type(x) in kinds for x in _walk([item], (*without, nn.Module), set()))


HOOKS = tuple(name for name in vars(nn.Module()) if name.startswith(("_forward_", "_backward_")))
"""Attributes of each module about the hooks that run around its forward."""

FORWARD_HOOKS = tuple(name for name in HOOKS if name.startswith("_forward_"))
"""Those about the hooks that are called with its inputs and outputs."""

_WITHOUT_MODULES = (type(None), bool, int, float, str, bytes, Tensor, type, ModuleType)


def _held(item: Any) -> Iterable[Any]:
    """The values that `item` holds directly."""
    if isinstance(item, dict | list | tuple | set | frozenset):
        return values_in(item)
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
