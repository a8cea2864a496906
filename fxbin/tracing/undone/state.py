"""Restores what running a model changes outside of its graph."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.original.contained import items_in, keys_in, values_in
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.undone.writes import writes_undone

Container = tuple[str, Any, Any]
"""Name of an attribute, a list, dict or set in it, and a copy of the content of that."""

_EMPTY: Mapping[str, Any] = MappingProxyType({})

Held = tuple[nn.Module, dict[str, Any], list[Container]]
"""A module, a copy of its attributes, and the containers in these."""


@contextmanager
def state_kept(tracer: Tracer) -> Iterator[None]:
    """Restore random number generators, ``requires_grad`` and attributes of modules at the end."""
    with (
        torch.random.fork_rng(devices=[]),
        _gradients_kept(tracer.entry),
        attributes_kept(tracer.reached()),
    ):
        yield


@contextmanager
def in_mode(root: nn.Module, *, training: bool) -> Iterator[None]:
    """Switch `root` to train or eval mode for the traces of several parts, and restore it at the end."""
    with _gradients_kept(root), attributes_kept(root.modules()), switched(root, training=training):
        yield


def switched(root: nn.Module, *, training: bool) -> AbstractContextManager[None]:
    """Switch `root` to train or eval mode with its own `train` method, which may keep parts frozen.

    Eval mode is entered through train mode, in which models drop values that they cache for eval mode. The
    weights are restored at the end; `state_kept` or `in_mode` restore attributes.
    """

    def switch() -> None:
        root.train()
        root.train(training)

    return writes_undone(root, switch)


@contextmanager
def _gradients_kept(root: nn.Module) -> Iterator[None]:
    """Restore ``requires_grad`` of all parameters, which a `train` method may change."""
    before = [(parameter, parameter.requires_grad) for parameter in root.parameters()]
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


@contextmanager
def attributes_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Restore attributes of `modules`, and the content of containers in them, at the end."""
    before = [*attributes_of(modules)]
    try:
        yield
    finally:
        for module, attributes, containers in before:
            is_switched = vars(module).get(torch_private.GRAPH) is not attributes.get(torch_private.GRAPH)
            vars(module).clear()
            vars(module).update(attributes)
            if is_switched and isinstance(module, fx.GraphModule):
                module.recompile()  # its generated code belongs to its class
            for _, container, content in containers:
                if not container and not content:
                    continue
                # Only if it has changed, because some containers are read-only.
                if [*map(id, entries(container))] != [*map(id, entries(content))]:
                    container.clear()
                    container.extend(content) if isinstance(container, list) else container.update(content)


def attributes_of(modules: Iterable[nn.Module], without: Collection[str] = ()) -> Iterator[Held]:
    """Yield the current attributes of each of `modules`, with their containers except those in `without`."""
    for module in modules:
        if not isinstance(module, torch.jit.ScriptModule):
            attributes = dict(vars(module))
            looked_into = [(name, item) for name, item in attributes.items() if name not in without]
            yield module, attributes, _containers(looked_into)


def _containers(items: Iterable[tuple[str, Any]]) -> list[Container]:
    """All lists, dicts and sets in `items`, pairs of name and value, also nested, as `Container`."""
    found: list[Container] = []
    seen: set[int] = set()
    pending = [held for held in items if isinstance(held[1], (dict, list, set))]
    for name, item in pending:
        if not isinstance(item, (dict, list, set)) or id(item) in seen:
            continue
        if not item:  # like most registries of modules
            found.append((name, item, _EMPTY))
            continue
        seen.add(id(item))
        found.append((name, item, items_in(item) if isinstance(item, dict) else values_in(item)))
        if item and not isinstance(item, set):
            pending += [(name, value) for value in values_in(item)]
    return found


def entries(container: Any) -> Iterator[Any]:
    """Yield the items of a list, dict or set, with the values of a dict, and an end mark."""
    yield from keys_in(container) if isinstance(container, dict) else ()
    yield from values_in(container) if container else ()
    yield entries
