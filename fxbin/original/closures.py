"""Functions and references that hold on to modules of a model, made to hold on to those of its copy."""

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from functools import WRAPPER_ASSIGNMENTS, partial
from types import CellType, FunctionType, MethodType
from typing import Any
from weakref import CallableProxyType, ProxyType, proxy, ref

_UNSEEN = object()
_HOLDERS = (FunctionType, MethodType, partial, dict, list, tuple)
WEAK = (ref, ProxyType, CallableProxyType)


def variables(function: Any) -> Iterator[tuple[CellType, Any]]:
    """What `function` closes over, each with what it holds; without what has not been assigned yet."""
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:
            continue
        yield cell, held


def referent(reference: Any) -> Any:
    """What a reference of one of the types `WEAK` refers to; None if that is gone."""
    if issubclass(type(reference), ref):  # a proxy would answer for what it refers to
        return reference()
    try:
        return reference.__init__.__self__
    except ReferenceError:
        return None


def rebound(value: Any, copies: MutableMapping[int, Any]) -> Any:
    """`value`, with every function in it, also in lists and dicts, speaking of copies.

    `copy.deepcopy` takes a function as it is, with its defaults and what it closes over, and a weak reference
    too: in a copied module they would go on with the weights of the original. Here they are made anew, with
    each object that has been copied exchanged for its copy. What needs no change is returned itself.

        before:  old = conv.forward;  conv.forward = lambda x: old(x) * 2
        after:   the same, with `old` a method of the copy of conv

    Args:
        value: anything a module holds.
        copies: by the id of an object, its copy: what `copy.deepcopy` leaves in its memo. Each function and
            container that has been looked at is added.
    """
    found = copies.get(id(value), _UNSEEN)
    if found is not _UNSEEN:
        return found
    if type(value) in WEAK:
        return _weak(value, copies)
    if not isinstance(value, _HOLDERS):
        return value
    copies[id(value)] = value  # so that what holds itself comes to an end
    copies[id(value)] = result = _holder(value, copies)
    return result


def _weak(value: Any, copies: MutableMapping[int, Any]) -> Any:
    old = referent(value)
    new = copies.get(id(old), old)
    if new is old:
        return value
    return ref(new) if type(value) is ref else proxy(new)


def _holder(value: Any, copies: MutableMapping[int, Any]) -> Any:
    if isinstance(value, FunctionType):
        return _function(value, copies)
    if isinstance(value, MethodType):
        held = (value.__func__, value.__self__)
        function, owner = new = tuple(rebound(part, copies) for part in held)
        return value if _same(new, held) else MethodType(function, owner)
    if isinstance(value, partial):
        old = (value.func, value.args, value.keywords)
        function, args, keywords = new = tuple(rebound(part, copies) for part in old)
        return value if _same(new, old) else partial(function, *args, **keywords)
    if isinstance(value, dict):
        return _dict(value, copies)
    items = [rebound(item, copies) for item in value]
    return value if _same(items, value) or type(value) not in (list, tuple) else type(value)(items)


def _same(new: Sequence[Any], old: Sequence[Any]) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))


def _dict(value: dict[Any, Any], copies: MutableMapping[int, Any]) -> dict[Any, Any]:
    changes = {key: new for key, old in value.items() if (new := rebound(old, copies)) is not old}
    if not changes:
        return value
    result = copy.copy(value)  # an OrderedDict stays one, and keeps its order
    result.update(changes)
    return result


def _function(value: FunctionType, copies: MutableMapping[int, Any]) -> FunctionType:
    old_cells = value.__closure__ or ()
    new_cells = tuple(CellType() for _ in old_cells)
    result = FunctionType(value.__code__, value.__globals__, value.__name__, closure=new_cells)
    copies[id(value)] = result  # for functions that close over each other
    changed = [_fill(new, old, copies) for new, old in zip(new_cells, old_cells, strict=True)]
    old_defaults = (value.__defaults__, value.__kwdefaults__)
    new_defaults = tuple(rebound(held, copies) for held in old_defaults)
    if not any(changed) and _same(new_defaults, old_defaults):
        return value
    for name in (*WRAPPER_ASSIGNMENTS, "__dict__"):
        setattr(result, name, getattr(value, name))
    result.__defaults__, result.__kwdefaults__ = new_defaults
    return result


def _fill(new: CellType, old: CellType, copies: MutableMapping[int, Any]) -> bool:
    """Put into `new` what `old` holds; whether it is something else now."""
    try:
        held = old.cell_contents
    except ValueError:  # a variable that has not been assigned yet
        return False
    new.cell_contents = rebound(held, copies)
    return new.cell_contents is not held
