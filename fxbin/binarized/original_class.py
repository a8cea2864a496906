"""Gives a model a class that is derived from its own, and runs its original code."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

from torch import fx, nn

from fxbin.binarized.convolving_methods import attributes_with_convolutions, subclass
from fxbin.binarized.refused_methods import refusals
from fxbin.binarized.reserved_names import check_names
from fxbin.original.reach import HOOKS

GraphModel = TypeVar("GraphModel", bound=fx.GraphModule)

_MADE = "_is_made_for_one_model"
"""Attribute of the classes made here, but not of those that users derive from them."""


class OriginalInitBarrier(nn.Module):
    """A base class before the original class, whose `__new__` and `__init__` must not run a second time."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Create an object without the `__new__` of the original class."""
        return object.__new__(cls)

    def __init__(self) -> None:
        nn.Module.__init__(self)


def empty(kind: type[GraphModel]) -> GraphModel:
    """An object of `kind`, without attributes; as torch.fx has it, of a new class derived from `kind`."""
    made = fx.GraphModule.__new__(kind)
    setattr(type(made), _MADE, True)
    return made


def made_class(model: nn.Module) -> type[nn.Module]:
    """The class that a transformed model got, which is its own unless a user has given it a derived one."""
    return next(kind for kind in type(model).__mro__ if _MADE in vars(kind))


@contextmanager
def methods_kept(kind: type[nn.Module]) -> Iterator[None]:
    """Give `kind` back its methods at the end, where `fx.GraphModule.recompile` writes others into it."""
    before = dict(vars(kind))
    try:
        yield
    finally:
        for name in vars(kind).keys() - before.keys():
            delattr(kind, name)
        for name, value in before.items():
            if vars(kind).get(name) is not value:
                setattr(kind, name, value)


def derived_classes(model: nn.Module) -> tuple[type[nn.Module], ...]:
    """The classes that a user has derived from that of the transformed `model`, and given to it."""
    kinds = type(model).__mro__
    return kinds[: kinds.index(made_class(model))]


def give_class(
    root: nn.Module, base: type[GraphModel], attributes: Collection[str], *, keeps_hooks: bool
) -> GraphModel:
    """Give `root` a new class, derived from `base` and its own class, and an empty graph.

    Args:
        root: the model, which is changed in place.
        base: the class of transformed models.
        attributes: names of attributes that `root` is to get; TransformError if it has one of them already.
        keeps_hooks: whether hooks run around the module; otherwise they are removed, as its graph has them.
    """
    original = type(root)
    content = {
        "__module__": original.__module__,
        "_original_class": original,
        **attributes_with_convolutions(original),
        **refusals(original),
    }
    new_class: Any = type(original.__name__, (base, original), content)
    # An empty object shows the attributes that GraphModule sets. GraphModule's __init__ is called
    # directly, because classes derived from it may take other arguments.
    made = empty(new_class)
    fx.GraphModule.__init__(made, nn.Module(), fx.Graph(), class_name=original.__name__)
    if isinstance(vars(root).get("meta"), dict):
        del made.meta  # the model's own dict serves as well: torch only looks up what it has written
    check_names(root, base, (*vars(made), *attributes))
    # Hooks that are part of the graph must not run around it as well.
    kept = {*vars(nn.Module())} - (set() if keeps_hooks else {*HOOKS})
    vars(root).update({name: value for name, value in vars(made).items() if name not in kept})
    # In place, it would override the forward that runs the graphs, which contain it.
    vars(root)["_instance_forward"] = vars(root).pop("forward", None)
    object.__setattr__(root, "__class__", type(made))
    return cast("GraphModel", root)


def original_run(
    model: Any,
    kind: type[nn.Module],
    instance_forward: Callable[..., Any] | None,
    hooks: dict[str, Any],
) -> Callable[..., Any]:
    """The call of a model of the original class `kind` as a function that takes the model first.

    It runs `hooks`, by the names of their attributes, and no others. `instance_forward` is a `forward` that
    was assigned to the model itself.
    """
    call = kind.__call__
    if issubclass(kind, fx.GraphModule):
        call = type(model).__call__  # that of the original only adds lines of its graph to tracebacks
    if type(model).__call__ is call and not any(hooks.values()):

        def forward(model: Any, *args: Any, **kwargs: Any) -> Any:
            # Looked up at each call: the class may be given another one.
            if instance_forward:
                return instance_forward(*args, **kwargs)
            return kind.forward(model, *args, **kwargs)

        return forward
    inner = _inner_model(model, hooks)
    return lambda _model, *args, **kwargs: call(inner, *args, **kwargs)


def _inner_model(model: Any, hooks: dict[str, Any]) -> Any:
    """`model` with `hooks` and no others, and the forward of the original, for calls inside of a call.

    It has the attributes of `model`, not copies, so code that sets one sets it in both. The model itself is
    not changed for the call, as other threads may call it.
    """

    def for_model(hook: Any) -> Any:
        return (lambda _inner, *args: hook(model, *args)) if callable(hook) else hook

    inner_hooks = {name: type(of_kind)() for name, of_kind in hooks.items()}
    for name, of_kind in hooks.items():
        inner_hooks[name].update({key: for_model(hook) for key, hook in of_kind.items()})
    content = {name: _constant(of_kind) for name, of_kind in inner_hooks.items()}
    content["forward"] = property(lambda _: model.own_forward())
    kind: Any = type(model)
    inner = object.__new__(subclass(kind, {"__module__": kind.__module__, **content}))
    inner.__dict__ = vars(model)
    return inner


def _constant(value: Any) -> property:
    return property(lambda _: value)
