"""Rebinds functions and weak references that refer to modules of a model, so that they refer to its copy."""

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
    """Yield the closure cells of `function` with their values; cells without a value are skipped."""
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:
            continue
        yield cell, held


def referent(reference: Any) -> Any:
    """The object that a reference of one of the types `WEAK` refers to; None if it no longer exists."""
    if issubclass(type(reference), ref):  # a proxy would answer for what it refers to
        return reference()
    try:
        return reference.__init__.__self__
    except ReferenceError:
        return None


def rebound(value: Any, copies: MutableMapping[int, Any]) -> Any:
    """`value` with every function in it, also in lists and dicts, referring to copies.

    `copy.deepcopy` does not copy functions, with their defaults and closures, nor weak references: in a
    copied module they would still use the weights of the original. Here they are created again, with each
    copied object replaced by its copy. A value that needs no change is returned itself.

        before:  old = conv.forward;  conv.forward = lambda x: old(x) * 2
        after:   the same, with `old` a method of the copy of conv

    Args:
        value: any attribute of a module.
        copies: the copy of each object by id, as in the memo of `copy.deepcopy`. Functions and containers
            that have been visited are added.
    """
    found = copies.get(id(value), _UNSEEN)
    if found is not _UNSEEN:
        return found
    if type(value) in WEAK:
        return _weak(value, copies)
    # Most registries of modules are empty.
    if not isinstance(value, _HOLDERS) or (isinstance(value, dict) and not value):
        return value
    copies[id(value)] = value  # or a container that contains itself would never end
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
    result = copy.copy(value)  # which keeps the class, such as OrderedDict, and the order
    result.update(changes)
    return result


def _function(value: FunctionType, copies: MutableMapping[int, Any]) -> FunctionType:
    old_cells = value.__closure__ or ()
    new_cells = tuple(CellType() for _ in old_cells)
    result = FunctionType(value.__code__, value.__globals__, value.__name__, closure=new_cells)
    copies[id(value)] = result  # before its cells are filled, as functions may refer to each other
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
    """Put the rebound value of the cell `old` into `new`; return whether it differs."""
    try:
        held = old.cell_contents
    except ValueError:  # a variable that has not been assigned yet
        return False
    new.cell_contents = rebound(held, copies)
    return new.cell_contents is not held
