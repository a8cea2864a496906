"""Puts back what running a model changes outside of its graph."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.undone.writes import writes_undone

Container = tuple[str, Any, Any]
"""The name of the attribute that it is in, a list, dict or set, and a copy of its content."""

Held = tuple[nn.Module, dict[str, Any], list[Container]]
"""A module, a copy of its attributes, and the containers in them."""


@contextmanager
def state_kept(tracer: Tracer) -> Iterator[None]:
    """Restore random number generators and attributes of modules."""
    with (
        torch.random.fork_rng(devices=[]),
        _gradients_kept(tracer.entry),
        attributes_kept(tracer.reached()),
    ):
        yield


@contextmanager
def in_mode(root: nn.Module, *, training: bool) -> Iterator[None]:
    """`root` in train or eval mode, for the traces of several parts of it."""
    with _gradients_kept(root), attributes_kept(root.modules()), switched(root, training=training):
        yield


def switched(root: nn.Module, *, training: bool) -> AbstractContextManager[None]:
    """`root` in train or eval mode by its own `train` method: some keep parts of it frozen.

    Through train mode, in which models drop what they computed from parameters and kept for eval. In the end
    weights are what they were; `state_kept` or `in_mode` sees to attributes.
    """

    def switch() -> None:
        root.train()
        root.train(training)

    return writes_undone(root, switch)


@contextmanager
def _gradients_kept(root: nn.Module) -> Iterator[None]:
    """Undo what a `train` method does to ``requires_grad``."""
    before = [(parameter, parameter.requires_grad) for parameter in root.parameters()]
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


@contextmanager
def attributes_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back whatever is assigned to attributes of `modules` inside."""
    before = [*attributes_of(modules)]
    try:
        yield
    finally:
        for module, attributes, containers in before:
            is_switched = vars(module).get(torch_private.GRAPH) is not attributes.get(torch_private.GRAPH)
            vars(module).clear()
            vars(module).update(attributes)
            if is_switched and isinstance(module, fx.GraphModule):
                module.recompile()  # its code is in its class
            for _, container, content in containers:
                if not container and not content:  # as most registries of modules are
                    continue
                if [*map(id, entries(container))] != [*map(id, entries(content))]:  # some cannot be changed
                    container.clear()
                    container.extend(content) if isinstance(container, list) else container.update(content)


def attributes_of(modules: Iterable[nn.Module], without: Collection[str] = ()) -> Iterator[Held]:
    """What each of `modules` holds now; no containers of the attributes `without`."""
    for module in modules:
        if not isinstance(module, torch.jit.ScriptModule):
            attributes = dict(vars(module))
            looked_into = [(name, item) for name, item in attributes.items() if name not in without]
            yield module, attributes, _containers(looked_into)


def _containers(items: Iterable[tuple[str, Any]]) -> list[Container]:
    """Each list, dict and set in `items`, and in these, with its name and a copy of its content."""
    found: list[Container] = []
    seen: set[int] = set()
    pending = [*items]
    for name, item in pending:
        if not isinstance(item, (dict, list, set)) or id(item) in seen:
            continue
        seen.add(id(item))
        found.append((name, item, dict(item) if isinstance(item, dict) else list(item)))
        if item and not isinstance(item, set):
            pending += [(name, value) for value in (item.values() if isinstance(item, dict) else item)]
    return found


def entries(container: Any) -> Iterator[Any]:
    """What is in a list, dict or set, and a mark behind it."""
    yield from container
    yield from container.values() if isinstance(container, dict) else ()
    yield entries
