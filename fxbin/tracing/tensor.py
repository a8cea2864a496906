"""Tensors without data that write what is done to them into a graph."""

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, fx

from fxbin.errors import TraceError
from fxbin.tracing.active import active_tracer, paused

if TYPE_CHECKING:
    from fxbin.tracing.tracer import Tracer


class TracedTensor(Tensor):
    """A real tensor on the meta device, with the graph node that computes it.

    Being a tensor, it goes wherever tensors go: `isinstance`, containers, operators on plain
    tensors. Every public method is replaced by one that asks the active tracer to record the call
    under the name it was called by, so ``x + y``, ``x.add(y)`` and ``x += y`` stay three things.
    """

    __torch_function__: ClassVar[Any] = torch._C._disabled_torch_function_impl

    _value: Tensor
    """What operators really run on: on the meta device, or on the CPU for a constant."""

    _node: fx.Node | None
    """None inside a module that is kept whole."""

    _tracked: bool
    """Whether the reference implementation would see methods called on this tensor."""

    _source: Tensor | None
    """The parameter, buffer or constant that this one stands for while nothing has changed it."""

    _is_param: bool
    """`isinstance(x, nn.Parameter)` looks at this."""

    @property
    def shape(self) -> Any:  # type: ignore[override]
        return _tracer().compute(getattr, (self, "shape"))

    @property
    def dtype(self) -> Any:  # type: ignore[override]
        return _tracer().compute(getattr, (self, "dtype"))

    @property
    def ndim(self) -> Any:  # type: ignore[override]
        return _tracer().compute(getattr, (self, "ndim"))

    @property
    def device(self) -> Any:  # type: ignore[override]
        return _tracer().device_of(self)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.unbind(0))

    def __bool__(self) -> bool:
        return bool(content(self, bool))

    def __int__(self) -> int:
        return int(content(self, int))

    def __float__(self) -> float:
        return float(content(self, float))

    def __index__(self) -> int:
        return int(content(self, int))

    def item(self) -> Any:
        return content(self, Tensor.item)

    def tolist(self) -> Any:
        return content(self, Tensor.tolist)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"TracedTensor({self._node}, {tuple(self._value.shape)}, {self._value.dtype})"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.clone()


TENSOR_ATTRIBUTES = ("T", "mT", "H", "mH", "data", "real", "imag")
"""Properties that give tensors."""

_OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"]
_COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
_UNARY = ["neg", "pos", "abs", "invert"]
_PLAIN_PYTHON = {
    # Written above, part of how Python handles objects, or about autograd and storage, not values.
    *(name for name in vars(TracedTensor) if not name.startswith("_")),
    *["as_subclass", "backward", "data_ptr", "get_device", "has_names", "is_shared", "names", "register_hook"],
    *["register_post_accumulate_grad_hook", "retain_grad", "share_memory_", "storage", "untyped_storage"],
    *["storage_type", "requires_grad_", "numpy", "module_load", "is_set_to", "record_stream"],
}


def _tracer() -> "Tracer":
    tracer = active_tracer()
    if tracer is None:
        raise RuntimeError("a tensor made while tracing a model was kept and used after the tracing")
    return tracer


def content(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """``read(tensor)`` where user code asks for the content of a tensor: constants have one."""
    with paused():
        if not tensor._value.is_meta:
            return read(tensor._value)
    raise TraceError(
        f"the content of a tensor of shape {tuple(tensor._value.shape)} is needed, "
        "and it is known only when the model runs"
    )


def _method(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedTensor, *args: Any, **kwargs: Any) -> Any:
        return _tracer().call_method(name, original, (self, *args), kwargs)

    return method


def _operator(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedTensor, *operands: Any) -> Any:
        return _tracer().call_operator(name, function, self, operands)

    return method


def _attribute(name: str) -> property:
    return property(
        lambda self: _tracer().compute(getattr, (self, name)),
        lambda self, value: _tracer().compute(setattr, (self, name, value)),
    )


def _install() -> None:
    """Give `TracedTensor` a recording method for each public method and operator of `Tensor`."""
    for name in dir(Tensor):
        original = getattr(Tensor, name)
        if not name.startswith("_") and callable(original) and name not in _PLAIN_PYTHON:
            setattr(TracedTensor, name, _method(name, original))
    for name in _OPERATORS:
        function = getattr(operator, f"__{name}__")
        _set_operator(f"__{name}__", function)
        _set_operator(f"__r{name}__", function)
        _set_operator(f"__i{name}__", getattr(operator, f"__i{name}__"))
    for name in _COMPARISONS + _UNARY:
        _set_operator(f"__{name}__", getattr(operator, f"__{name}__"))
    _set_operator("__getitem__", operator.getitem)
    _set_operator("__setitem__", operator.setitem)
    for name in TENSOR_ATTRIBUTES:
        setattr(TracedTensor, name, _attribute(name))


def _set_operator(name: str, function: Callable[..., Any]) -> None:
    setattr(TracedTensor, name, _operator(name, function))


_install()
# Comparisons were replaced, which in Python drops the hash: tensors hash by identity.
TracedTensor.__hash__ = Tensor.__hash__  # type: ignore[method-assign]
