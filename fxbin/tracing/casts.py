"""``int(n)``, ``float(n)`` and ``torch.Size(sizes)`` of what is traced, which stay traced.

They are types, and the numbers that they make are Python's own: ``int(x.shape[0] / 4)`` would bake in
the size of a batch. User code therefore finds other classes under these names while it is traced, and
another ``type``, which knows what traced tensors and numbers stand for.
"""

import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.tracing.active import active_tracer
from fxbin.tracing.replacement import Replacement, node_of
from fxbin.tracing.tensor import TracedTensor, as_number
from fxbin.tracing.values import TracedSize, TracedValue


class _Cast(type):
    """Metaclass of what passes for a built-in type: makes traced values of traced values."""

    _real: type

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and type(args[0]) is TracedValue:
            return args[0]._tracer.compute(cls._real, args)
        if len(args) == 1 and type(args[0]) is TracedTensor and active_tracer():
            return as_number(args[0], cls._real)
        return cls._real(*args, **kwargs)

    def __instancecheck__(cls, item: Any) -> bool:
        return isinstance(item, cls._real)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, cls._real)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real, name)

    def __eq__(cls, other: object) -> bool:
        return other is cls._real or other is cls

    def __hash__(cls) -> int:
        return hash(cls._real)


class _Int(metaclass=_Cast):
    _real = int


class _Float(metaclass=_Cast):
    _real = float


class _TypeOf(_Cast):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 1:
            return type(*args, **kwargs)
        if type(args[0]) is TracedTensor:
            return nn.Parameter if args[0]._is_param else Tensor
        kind = args[0].__class__ if type(args[0]) in (TracedValue, TracedSize) else type(args[0])
        # As the code will compare it with what it finds under these names.
        return {int: _Int, float: _Float, _Size._real: torch.Size}.get(kind, kind)


class _Type(metaclass=_TypeOf):
    _real = type


class _SizeCast(_Cast):
    def __call__(cls, *args: Any) -> Any:
        if args and any(type(size) is TracedValue for size in args[0]):
            return TracedSize(args[0])
        return cls._real(*args)


class _Size(metaclass=_SizeCast):
    _real = torch.Size


SIZE = Replacement(torch, "Size", lambda _: _Size, lambda s: node_of(torch.Size([s.x.shape[0]])[0]))


@contextmanager
def casts_traced(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let the code in `modules` find these classes."""
    with ExitStack() as stack:
        for module in modules:
            for cast in (_Int, _Float, _Type):
                if cast._real.__name__ not in vars(module):
                    vars(module)[cast._real.__name__] = cast
                    stack.callback(vars(module).pop, cast._real.__name__, None)
        yield


def python_modules(classes: Iterable[type]) -> list[ModuleType]:
    """The Python modules with the code of `classes`, and the rest of the packages they come from."""
    own = {cls.__module__ for cls in classes}
    packages = {name.partition(".")[0] for name in own}
    return loaded_modules(packages - {"torch", "builtins", "typing", "abc", "fxbin"})


def loaded_modules(packages: Container[str]) -> list[ModuleType]:
    """All modules of `packages` that have been imported."""
    return [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
