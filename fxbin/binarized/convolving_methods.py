"""Finds the methods of a class that call `F.conv2d`, and makes such methods ask for binarizers."""

import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import nn

from fxbin import torch_private
from fxbin.original.value_kinds import is_foreign

DIRECT_CALLS = "_fxbin_direct_calls"
"""The attribute of a module that holds its `DirectCalls`, which run the methods."""


@functools.cache
def derived_class(kind: Any) -> Any:
    """A class derived from `kind` whose methods use `DirectCalls`; None if no method calls `F.conv2d`."""
    methods = attributes_with_convolutions(kind)
    if not methods:
        return None
    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return subclass(kind, {**names, "__reduce_ex__": _reduce, **methods})


class _Unnoticed(nn.Module):
    """A base class before another, whose `__init_subclass__` must not hear of the class that is derived."""

    def __init_subclass__(cls, **_kwargs: Any) -> None:
        pass


def subclass(kind: Any, content: dict[str, Any]) -> Any:
    """A class of the same name, derived from `kind`, with `content`."""
    return type(kind)(kind.__name__, (_Unnoticed, kind), content)


def _reduce(module: nn.Module, protocol: Any) -> Any:
    """As without the derived class, which pickle finds no place for."""
    derived = type(module)
    kind: Any = derived.__mro__[2]
    found = kind.__reduce_ex__(module, protocol)
    if not isinstance(found, tuple) or found[1][:1] != (derived,):
        return found
    return _remade, (kind, found[0], found[1][1:]), *found[2:]


def _remade(kind: Any, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return make(derived_class(kind), *args)


def attributes_with_convolutions(kind: type[nn.Module]) -> dict[str, Any]:
    """Methods and properties of the class `kind` that call `F.conv2d`, with binarizers if called directly."""
    classes = kind.__mro__[: kind.__mro__.index(nn.Module)]
    # Those of torch are called by forwards, which have binarizers.
    names = {name for cls in classes if not is_foreign(cls, ("torch",)) for name in vars(cls)}
    convolving = {"conv2d", torch_private.CONV_FORWARD} | (
        {"forward"} if issubclass(kind, nn.Conv2d) else set()
    )
    found: dict[str, Any] = {}
    for name in names - {"__new__", "__init__", "__call__", "forward"}:
        item = next(vars(cls)[name] for cls in classes if name in vars(cls))
        if isinstance(item, FunctionType) and _mentions(item, convolving):
            found[name] = _method(kind, name, item)
        elif isinstance(item, staticmethod) and _mentions(item.__func__, convolving):
            found[name] = _StaticMethod(kind, name)
        elif isinstance(item, property) and _mentions(item.fget, convolving):
            value = _value(kind, name, "fget")
            found[name] = property(value, item.fset, item.fdel, item.__doc__)
        elif isinstance(item, functools.cached_property) and _mentions(item.func, convolving):
            found[name] = functools.cached_property(_value(kind, name, "func"))
    return found


def _method(kind: type[nn.Module], name: str, item: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(item)
    def method(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        own = getattr(kind, name)  # looked up at each call: the class may be given another one
        direct = vars(self).get(DIRECT_CALLS)
        return own(self, *args, **kwargs) if direct is None else direct.run(own, self, *args, **kwargs)

    return method


class _StaticMethod:
    """The static method `name` of `kind`, run with binarizers if it is called on a module."""

    def __init__(self, kind: type[nn.Module], name: str) -> None:
        self._kind, self._name = kind, name

    def __get__(self, module: nn.Module | None, kind: Any = None) -> Callable[..., Any]:
        own: Callable[..., Any] = getattr(self._kind, self._name)
        direct = None if module is None else vars(module).get(DIRECT_CALLS)
        return own if direct is None else functools.partial(direct.run, own)


def _value(kind: type[nn.Module], name: str, function: str) -> Callable[[nn.Module], Any]:
    def value(self: nn.Module) -> Any:
        own = getattr(getattr(kind, name), function)
        direct = vars(self).get(DIRECT_CALLS)
        return own(self) if direct is None else direct.run(own, self)

    return value


def _mentions(function: Any, wanted: set[str], seen: set[Any] | None = None) -> bool:
    """Whether the code of `function`, or of a function of Python that it names, mentions one of `wanted`."""
    seen = set() if seen is None else seen
    function = inspect.unwrap(function) if isinstance(function, FunctionType) else None
    if not isinstance(function, FunctionType) or function in seen or is_foreign(function, ("torch",)):
        return False
    seen.add(function)
    names, space = _names(function.__code__), function.__globals__
    if names & wanted:
        return True
    named = [space[name] for name in names & space.keys()]
    modules = [vars(item) for item in named if isinstance(item, ModuleType)]
    named += [module[name] for module in modules for name in names & module.keys()]
    return any(_mentions(item, wanted, seen) for item in named)


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return {*code.co_names}.union(*map(_names, inner))
