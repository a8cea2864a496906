"""Puts back what running a model changes outside of its graph."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from fxbin.graph.record import Specialisation
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.undone.writes import writes_undone
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor


@contextmanager
def state_kept(tracer: Tracer) -> Iterator[None]:
    """Restore random number generators and attributes of modules, and note what a graph will not redo."""
    with (
        torch.random.fork_rng(devices=[]),
        _gradients_kept(tracer.entry),
        _attributes_kept(tracer.reached(), partial(_note_changes, tracer)),
    ):
        yield


@contextmanager
def in_mode(root: nn.Module, *, training: bool) -> Iterator[None]:
    """`root` in train or eval mode, for the traces of several parts of it."""
    with _gradients_kept(root), _attributes_kept(root.modules()), switched(root, training=training):
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
def _attributes_kept(modules: Iterable[nn.Module], note: Callable[..., None] | None = None) -> Iterator[None]:
    """Put back whatever is assigned to attributes of `modules` inside; ``note(module, *before)`` sees it."""
    before = [
        (module, dict(vars(module)), [*_containers(vars(module).items(), set())])
        for module in modules
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for module, attributes, containers in before:
            if note is not None:
                note(module, attributes, containers)
            is_switched = vars(module).get("_graph") is not attributes.get("_graph")
            vars(module).clear()
            vars(module).update(attributes)
            if is_switched and isinstance(module, fx.GraphModule):
                module.recompile()  # its code is in its class
            for _, container, content in containers:
                if [*map(id, _entries(container))] != [*map(id, _entries(content))]:  # some cannot be changed
                    container.clear()
                    container.extend(content) if isinstance(container, list) else container.update(content)


def _containers(items: Iterable[tuple[str, Any]], seen: set[int]) -> Iterator[tuple[str, Any, Any]]:
    """Each list, dict and set in `items`, and in these, with its name and a copy of its content."""
    for name, item in items:
        if id(item) in seen or not isinstance(item, (dict, list, set)):
            continue
        seen.add(id(item))
        yield name, item, dict(item) if isinstance(item, dict) else list(item)
        if not isinstance(item, set):
            inside = item.values() if isinstance(item, dict) else item
            yield from _containers(((name, value) for value in inside), seen)


def _note_changes(
    tracer: Tracer, module: nn.Module, before: dict[str, Any], containers: list[tuple[str, Any, Any]]
) -> None:
    """Note Python values that the forward left in attributes, and containers that it changed.

    Its graph does neither.
    """
    for name, container, content in containers:
        if name not in _OF_EACH_MODULE and not all(map(_is_same, _entries(container), _entries(content))):
            tracer.state.assigned.setdefault(module, name)
    path = tracer.attributes.module_path(module)
    for name, value in vars(module).items():
        if before.get(name, before) is value or type(value) is TracedTensor or name == "training":
            continue
        value = value._value if type(value) is TracedValue else value
        if isinstance(value, bool | int | float | str) and value != before.get(name):
            attribute = f"{path}.{name}" if path else name
            tracer.assumptions.found.append(
                Specialisation(attribute, value, type(module).__name__, "assigned in forward")
            )


_OF_EACH_MODULE = frozenset(vars(nn.Module()))


def _entries(container: Any) -> Iterator[Any]:
    """What is in a list, dict or set, and a mark behind it."""
    yield from container
    yield from container.values() if isinstance(container, dict) else ()
    yield _entries


def _is_same(item: Any, before: Any) -> bool:
    return item is before or (type(item) is TracedTensor and item._source is before)
