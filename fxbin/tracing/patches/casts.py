"""Replaces ``int``, ``float``, ``torch.Size`` and ``type``, so that traced values remain traced.

These types create plain Python values, so that ``int(x.shape[0] / 4)`` would turn the size of a batch into a
constant. During a trace, user code therefore finds other classes under these names, and a ``type`` that knows
what traced tensors and numbers stand for.
"""

import copyreg
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from fxbin.tracing.patches.replacement import Replacement, node_of
from fxbin.tracing.values.active import active_tracer
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.numbers import TracedSize, TracedValue
from fxbin.tracing.values.stand_ins import original_of
from fxbin.tracing.values.tensor import TracedTensor, as_number


class _Cast(type):
    """Metaclass of replacements for built-in types, which create traced values from traced values."""

    _stands_for: type

    @speaks_for_user
    def __new__(mcs, name: str, bases: tuple[type, ...], content: dict[str, Any], **options: Any) -> Any:
        real = tuple(map(original_of, bases))
        if any(base is not other for base, other in zip(bases, real, strict=True)):
            return type(name, real, content, **options)  # code that derives a class from one of these
        return super().__new__(mcs, name, bases, content, **options)

    @speaks_for_user
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and type(args[0]) is TracedValue:
            return args[0]._tracer.compute(cls._stands_for, args)
        if len(args) == 1 and type(args[0]) is TracedTensor and active_tracer() is not None:
            return as_number(args[0], cls._stands_for)
        return cls._stands_for(*args, **kwargs)

    @speaks_for_user
    def __instancecheck__(cls, item: Any) -> bool:
        return isinstance(item, cls._stands_for)

    @speaks_for_user
    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, cls._stands_for)

    @speaks_for_user
    def __getattr__(cls, name: str) -> Any:
        if name == "dtype" and "numpy" in sys.modules:  # which looks for it in types that it does not know
            return sys.modules["numpy"].dtype(cls._stands_for)
        return getattr(cls._stands_for, name)

    @speaks_for_user
    def __getitem__(cls, item: Any) -> Any:
        real: Any = cls._stands_for
        return real[item]  # as in type[int]

    @speaks_for_user
    def __or__(cls, other: Any) -> Any:
        return cls._stands_for | other

    @speaks_for_user
    def __ror__(cls, other: Any) -> Any:
        return other | cls._stands_for

    def __repr__(cls) -> str:
        return repr(cls._stands_for)

    def __eq__(cls, other: object) -> bool:
        return original_of(other) is cls._stands_for

    def __hash__(cls) -> int:
        return hash(cls._stands_for)


# Derived from the built-in types for `case int(n)`, which requires that.
class _Int(int, metaclass=_Cast):
    _stands_for = int


class _Float(float, metaclass=_Cast):
    _stands_for = float


class _TypeOf(_Cast):
    @speaks_for_user
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 1:
            return type(*args, **kwargs)
        if type(args[0]) is TracedTensor:
            tracer = active_tracer()
            return args[0]._kind if tracer is None else tracer.answers.class_of(args[0])
        is_traced = type(args[0]) in (TracedValue, TracedSize)
        kind = args[0].__class__ if is_traced else type(original_of(args[0]))
        # The code compares the result with what it finds under these names.
        return {int: _Int, float: _Float, type: _Type, _Size._stands_for: torch.Size}.get(kind, kind)


class _Type(type, metaclass=_TypeOf):
    _stands_for = type


class _SizeCast(_Cast):
    @speaks_for_user
    def __call__(cls, *args: Any) -> Any:
        if args and any(type(size) is TracedValue for size in args[0]):
            return TracedSize(args[0])
        return cls._stands_for(*args)


class _Size(tuple[int, ...], metaclass=_SizeCast):  # noqa: SLOT001  (there are no instances)
    _stands_for = torch.Size


def _pickled(cast: Any) -> tuple[Any, ...]:
    """Pickle a replacement as the type that it stands for."""
    return type, ({int: 0, float: 0.0, type: int}[cast._stands_for],)


SIZE = Replacement(torch, "Size", lambda _: _Size, lambda s: node_of(torch.Size([s.x.shape[0]])[0]))


@contextmanager
def casts_traced(namespaces: Iterable[dict[str, Any]]) -> Iterator[None]:
    """Put the replacements of built-in types into `namespaces`, the global names of Python modules.

    Other threads find them there as well, where they behave like the built-in types: global names of a module
    are the same for all threads.
    """
    casts = {cast._stands_for.__name__: cast for cast in (_Int, _Float, _Type)}
    added = [(names, name) for names in namespaces for name in casts if name not in names]
    with mock.patch.dict(copyreg.dispatch_table, dict.fromkeys((_Cast, _TypeOf), _pickled)):
        try:
            for names, name in added:
                names[name] = casts[name]
            yield
        finally:
            for names, name in added:
                names.pop(name, None)
