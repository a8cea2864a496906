"""Traced tensors, which have no data and record what is done with them in a graph."""

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, fx, nn

from fxbin.tracing.values.active import active_tracer, paused
from fxbin.tracing.values.bugs import as_asked, speaks_for_user
from fxbin.tracing.values.content import ContentError

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording


class TracedTensor(Tensor):
    """A tensor on the meta device, with the node that computes it.

    Because it is a tensor, it works with `isinstance`, in containers, and together with plain tensors. Every
    public method is replaced by one that lets the active tracer record the call under the name that the code
    used, so ``x + y``, ``x.add(y)`` and ``x += y`` remain three different operators.
    """

    __torch_function__: ClassVar[Any] = nn.Parameter.__torch_function__  # which is: none

    _value: Tensor
    """The plain tensor on which operators run: on the meta device, or on the CPU for a constant."""

    _node: fx.Node | None
    """The node that computes it; None inside a module that is kept whole."""

    _tracked: bool
    """Whether NNCF would see methods that are called on this tensor."""

    _source: Tensor | None
    """The parameter, buffer or constant that it stands for; None if it was computed."""

    _is_param: bool
    """Whether it stands for a parameter; `isinstance(x, nn.Parameter)` reads this."""

    _requires_grad: bool = False
    """Whether it would require a gradient in a training step."""

    _given: Any = None
    """The example that it stands for, a `Given`, if it is an input."""

    _kind: type = Tensor
    """The class that code finds."""

    # In C, because `isinstance` asks for it.
    __class__ = property(operator.attrgetter("_kind"))

    @property
    @speaks_for_user
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        own = {name: value for name, value in _actual_dict(self).items() if name not in _OWN}
        return own if active_tracer() is None else _tracer().answers.attributes_of(self, own)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:
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
        """The number in a tensor of one element, as a traced value if it is not known."""
        return as_number(self, Tensor.item)

    def tolist(self) -> Any:
        """The numbers in a constant. Raises ContentError for other tensors."""
        return content(self, Tensor.tolist)

    def numpy(self, **options: Any) -> Any:
        """The content of a constant. Raises ContentError for other tensors."""
        return content(self, partial(Tensor.numpy, **options))

    @speaks_for_user
    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy() if dtype is None else self.numpy().astype(dtype, copy=False)

    def requires_grad_(self, requires_grad: bool = True) -> "TracedTensor":
        """Record the call, and set the flag; nothing is differentiated during a trace."""
        _tracer().call_plain_method("requires_grad_", lambda tensor, _: tensor, (self, requires_grad), {})
        self._requires_grad = requires_grad
        return self

    def is_set_to(self, tensor: Tensor) -> Any:
        """Record the call; without data, only the same tensor has the same memory."""
        return _tracer().call_plain_method("is_set_to", _is_set_to, (self, tensor), {})

    def register_hook(self, hook: Callable[[Tensor], Any]) -> None:
        """Record that `hook` is called with the gradient."""
        _tracer().answers.add_hook(self, hook)

    @speaks_for_user
    def __getattr__(self, name: str) -> Any:
        if self._given is None or name.startswith("__") or name == "_stands_for" or active_tracer() is None:
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        return _tracer().answers.attribute_of(self, name)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"TracedTensor({self._node}, {tuple(self._value.shape)}, {self._value.dtype})"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.clone()


PYTHON_ATTRIBUTES = ("shape", "dtype", "ndim")
"""Properties that give Python values."""

TENSOR_ATTRIBUTES = ("T", "mT", "H", "mH", "data", "real", "imag")
"""Properties that give tensors."""

_ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]
_OPERATORS = [*_ARITHMETIC, "and", "or", "xor", "lshift", "rshift"]
_COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
_UNARY = ["neg", "pos", "abs", "invert"]
_PLAIN_PYTHON = {
    # Defined above, part of how Python handles objects, or about autograd and storage, not values.
    *(name for name in vars(TracedTensor) if not name.startswith("_")),
    *["as_subclass", "backward", "data_ptr", "get_device", "has_names", "is_shared", "names"],
    *["register_post_accumulate_grad_hook", "retain_grad"],
    *["share_memory_", "storage", "untyped_storage", "storage_type", "record_stream"],
    "module_load",
}


@speaks_for_user
def _tracer() -> "Recording":
    tracer = active_tracer()
    if tracer is None:
        raise RuntimeError("a tensor made while tracing a model was kept and used after the tracing")
    return tracer


def _is_set_to(left: Tensor, right: Tensor) -> bool:
    return left is right if left.is_meta else left.is_set_to(right)


def content(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """``read(tensor)`` of a constant, for code that asks for the content of a tensor.

    Raises ContentError for other tensors. Code of a module that is kept whole gets ones instead: its
    operators are only recorded for names and shapes, and the module runs when the graph runs.
    """
    tracer = _tracer()
    with paused():
        if not tensor._value.is_meta:
            tracer.state.note_content(tensor)
            return as_asked(read, tensor._value)
        if tracer.position.is_kept_whole:
            return as_asked(read, torch.ones_like(tensor._value, device="cpu"))
    raise ContentError(
        f"the content of a tensor of shape {tuple(tensor._value.shape)} is needed, "
        "and it is known only when the model runs"
    )


def as_number(tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
    """``read(tensor)``, a number; a traced value if it is known only when the graph runs."""
    if tensor._value.is_meta and not _tracer().position.is_kept_whole:
        return _tracer().answers.number_of(tensor, read)
    return content(tensor, read)


def _method(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedTensor, *args: Any, **kwargs: Any) -> Any:
        return _tracer().call_method(name, original, (self, *args), kwargs)

    return method


def _operator(name: str, function: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedTensor, *operands: Any) -> Any:
        return _tracer().call_operator(name, function, run, self, operands)

    return method


def _swapped(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(left: Any, right: Any) -> Any:
        return method(right, left)

    return run


def _attribute(name: str) -> property:
    """A property whose reads and assignments are recorded."""
    return property(
        lambda self: _tracer().compute(getattr, (self, name)),
        lambda self, value: _tracer().compute(setattr, (self, name, value)),
    )


def _device(self: TracedTensor) -> Any:
    return _tracer().answers.device_of(self)


def _requires_grad(self: TracedTensor) -> Any:
    return _tracer().answers.flag_of(self, "requires_grad")


_actual_dict = vars(Tensor)["__dict__"].__get__
_OWN = frozenset(TracedTensor.__annotations__)


def _install() -> None:
    """Give `TracedTensor` a recording method for each public method and operator of `Tensor`."""
    for name in dir(Tensor):
        original = getattr(Tensor, name)
        if not name.startswith("_") and callable(original) and name not in _PLAIN_PYTHON:
            setattr(TracedTensor, name, _method(name, original))
    for name in _OPERATORS:
        function = getattr(operator, f"__{name}__")
        _set_operator(f"__{name}__", function)
        _set_operator(f"__r{name}__", function, reflected=True)
        _set_operator(f"__i{name}__", getattr(operator, f"__i{name}__"))
    for name in _COMPARISONS + _UNARY:
        _set_operator(f"__{name}__", getattr(operator, f"__{name}__"))
    _set_operator("__getitem__", operator.getitem)
    _set_operator("__setitem__", operator.setitem)
    for name in TENSOR_ATTRIBUTES + PYTHON_ATTRIBUTES:
        setattr(TracedTensor, name, _attribute(name))
    TracedTensor.device = property(_device)  # type: ignore[assignment]
    TracedTensor.requires_grad = property(  # type: ignore[assignment]
        _requires_grad, lambda self, value: self.requires_grad_(value)
    )
    TracedTensor.is_cuda = property(lambda self: self.device.type == "cuda")  # type: ignore[assignment]
    TracedTensor.is_meta = property(lambda self: self.device.type == "meta")  # type: ignore[assignment]


def _set_operator(name: str, function: Callable[..., Any], *, reflected: bool = False) -> None:
    """Let method `name` record a call of `function` and run the method of `Tensor`.

    The method of `Tensor` returns NotImplemented for an operand of an unknown type, so that Python asks the
    other operand.
    """
    run = getattr(Tensor, name, None)
    if run is not None:
        setattr(TracedTensor, name, _operator(name, function, _swapped(run) if reflected else run))


_install()
# Python drops the hash of a class that defines comparisons; tensors hash by identity.
TracedTensor.__hash__ = Tensor.__hash__  # type: ignore[method-assign]
