"""Records the attributes that a forward changes, which its graph does not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from fxbin import torch_private
from fxbin.graph.record import Specialisation
from fxbin.original.value_kinds import SIMPLE
from fxbin.tracing.recorder.reads import MISSING, Read
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.undone.state import Container, attributes_of, entries
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor

_, _BUFFERS, _ = torch_private.REGISTRIES


@contextmanager
def changes_noted(tracer: Tracer) -> Iterator[None]:
    """Note which attributes the forward inside changes, and which values it leaves in them."""
    before = [*attributes_of(tracer.reached(), without=_OF_EACH_MODULE - {_BUFFERS})]
    yield
    whole = _kept_whole(tracer)
    for held in before:
        _note(tracer, *held)
        tracer.state.final_values += [
            final
            for final in _final_values(tracer, *held)
            # A graph calls modules that are kept whole, so they change their attributes themselves.
            if held[0] not in whole or (held[0], final.name) in tracer.state.set_by_code
        ]


def _kept_whole(tracer: Tracer) -> set[nn.Module]:
    modules = {path: module for module, path in tracer.attributes.inventory.module_paths.items()}
    called = (modules.get(str(node.target)) for node in tracer.graph.nodes if node.op == "call_module")
    return {part for module in called if module is not None for part in module.modules()}


def _note(tracer: Tracer, module: nn.Module, before: dict[str, Any], containers: list[Container]) -> None:
    """Note the containers and plain values of `module` that have changed."""
    for name in _changed(containers):
        tracer.state.assigned.setdefault(module, name)
    path = tracer.attributes.module_path(module)
    for name, value in vars(module).items():
        if before.get(name, before) is value or type(value) is TracedTensor or name == "training":
            continue
        value = value._value if type(value) is TracedValue else value
        if isinstance(value, bool | int | float | str) and value != before.get(name):
            attribute = f"{path}.{name}" if path else name
            tracer.assumptions.specialisations.append(
                Specialisation(attribute, value, type(module).__name__, "assigned in forward")
            )


def _final_values(
    tracer: Tracer, module: nn.Module, before: dict[str, Any], containers: list[Container]
) -> Iterator[Read]:
    """Yield attributes that the forward has set, with their final value if it is plain, else MISSING."""
    path, now = tracer.attributes.module_path(module), vars(module)
    written = tracer.state.reads.written
    for name in _changed(containers):
        yield Read(path, "__dict__", name, MISSING)
    for name in {**before, **now}:
        if name in _OF_EACH_MODULE:
            continue
        value, was = now.get(name, MISSING), before.get(name, MISSING)
        is_set = (module, name) in written  # and not by way of `vars(module)`
        is_changed = value is not was and not _is_same(value, was)
        if is_changed or (is_set and _is_plain(value)):
            yield Read(path, "__dict__", name, value if is_set and _is_plain(value) else MISSING)


def _changed(containers: list[Container]) -> dict[str, None]:
    """Names of the attributes whose containers have other content than before."""
    found: dict[str, None] = {}
    for name, container, before in containers:
        if name == _BUFFERS:  # a graph writes into existing buffers
            found |= {
                n: None
                for n in {**container, **before}
                if _has_buffer(container, n) != _has_buffer(before, n)
            }
        elif not all(map(_is_same, entries(container), entries(before))):
            found[name] = None
    return found


def _has_buffer(container: dict[str, Any], name: str) -> bool:
    return container.get(name) is not None


def _is_same(value: Any, before: Any) -> bool:
    """Whether `value` is the object `before`, stands for it, or is an equal plain value."""
    if type(value) is TracedTensor and value._source is not None:
        value = value._source
    if value is before:
        return True
    if type(value) is not type(before):
        return False
    if isinstance(value, list | tuple):
        return len(value) == len(before) and all(map(_is_same, value, before))
    return type(value) in SIMPLE and bool(value == before)


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    # By `type`, because traced values pass for the type that they carry.
    return value is None or type(value) in SIMPLE


_, _BUFFERS, _ = torch_private.REGISTRIES
_OF_EACH_MODULE = frozenset(vars(nn.Module())) - {"training"}
