"""Computes a two-level convolution with the engine."""

import operator
from ctypes import sizeof
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from fxbin import torch_private
from fxbin.engine.binary_conv2d import ACTIVATIONS, BinaryConv2d
from fxbin.engine.library import Engine, EngineWeights
from fxbin.engine.memory import Like, aligned, dense, extent, place, thread_count
from fxbin.engine.structs import ConvShape, EngineCall

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.int64: 2}
"""Values of the C enum ``fxbin_dtype``."""

MOST_CALLS = 16
"""Maximum number of calls that are kept for one convolution."""

_CALL_SIZE = sizeof(EngineCall)

_prepared: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""For each tensor of weight bits: its state, the `ConvShape`, and the `EngineWeights` made for them."""


def run_natively(engine: Engine, conv: BinaryConv2d, kernel_name: str | None = None) -> tuple[Tensor, ...]:
    """Return the outputs of `conv`, computed by the kernel `kernel_name`, by default the fastest."""
    return NativeCall(engine, conv, kernel_name).run(conv.x, conv.residual)


class NativeCall:
    """A call of the engine, prepared for inputs of one shape, layout and dtype.

    It holds the constants of `conv`, but not its inputs. Threads may share it.
    """

    def __init__(self, engine: Engine, conv: BinaryConv2d, kernel_name: str | None = None) -> None:
        vectors = conv.thresholds, conv.x_levels, conv.weight_bits, conv.w_levels
        optional = conv.bias, conv.slope, conv.y_thresholds
        given = _input(conv.thresholds), *vectors[1:], *optional
        thresholds, x_levels, bits, w_levels, bias, slope, y_thresholds = kept = [
            None if each is None else dense(each) for each in given
        ]
        self._kept = kept
        x, residual = _input(conv.x), _residual(conv.residual)
        y = conv.new_output(torch.float32) if conv.wants_floats else None
        y_bits = None if y_thresholds is None else conv.new_bits()
        self._outputs = [None if each is None else Like(each) for each in (y, y_bits)]
        self._dtype, self._weights = conv.output_dtype, _weights_of(engine, conv)
        self._call = EngineCall(
            _CALL_SIZE,
            extent(x),
            _DTYPES[x.dtype],
            *((None, 0) if x.dtype == torch.int64 else place(thresholds)),
            *place(x_levels),
            *place(bits),
            *place(w_levels),
            *place(bias),
            extent(residual),
            ACTIVATIONS.index(conv.activation),
            *place(slope),
            extent(y),
            extent(y_bits),
            *place(y_thresholds),
            None if kernel_name is None else kernel_name.encode(),
        )

    def reads(self, constants: list[Tensor | None]) -> bool:
        """Whether the call reads `constants` themselves, not copies of them, and so sees writes to them."""
        return all(kept is None or any(kept is each for each in constants) for kept in self._kept)

    def run(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute the output, its bits or both, into new memory.

        `x` and `residual` must have the shape, strides and dtype that the call was made for.
        """
        x, residual = _input(x), _residual(residual)
        call = EngineCall.from_buffer_copy(self._call)
        call.x.data = x.data_ptr()
        if residual is not None:
            call.residual.data = residual.data_ptr()
        y, y_bits = self._outputs
        made = []
        if y is not None:
            made.append(y.make())
            call.y.data = made[0].data_ptr()
        if y_bits is not None:
            made.append(y_bits.make())
            call.y_bits.data = made[-1].data_ptr()
        call.threads = thread_count()
        if x.shape[0]:
            self._weights.convolve(call)
        if y is not None and self._dtype != torch.float32:
            made[0] = made[0].to(self._dtype)
        return tuple(made)


class NativeCalls:
    """A cache of the calls of one convolution, whose constants rarely change.

    A copy of the cache is empty, because it belongs to a convolution with tensors of its own.
    """

    def __init__(self) -> None:
        self._constants: list[Tensor | None] = []
        self._places: list[int] = []
        self._bits_state: int | Tensor = 0
        self._calls: dict[Any, NativeCall] = {}

    def again(
        self,
        x: Tensor,
        residual: Tensor | None,
        constants: list[Tensor | None],
        weight_bits: Tensor,
        options: Any,
    ) -> tuple[Tensor, ...] | None:
        """Return the outputs if a call for such inputs, constants and options is cached; None otherwise."""
        call = self._calls.get(_key(x, residual, options))
        return call.run(x, residual) if call and self._are_of(constants, weight_bits) else None

    def first(
        self,
        call: NativeCall,
        x: Tensor,
        residual: Tensor | None,
        constants: list[Tensor | None],
        weight_bits: Tensor,
        options: Any,
    ) -> tuple[Tensor, ...]:
        """Return the outputs of `call`, and keep it for the next such inputs if it reads `constants`."""
        if not self._are_of(constants, weight_bits):
            self._constants, self._places = constants, _places(constants)
            self._bits_state, self._calls = _state(weight_bits), {}
        if call.reads(constants):
            self._calls = {} if len(self._calls) == MOST_CALLS else self._calls
            self._calls[_key(x, residual, options)] = call
        return call.run(x, residual)

    def _are_of(self, constants: list[Tensor | None], weight_bits: Tensor) -> bool:
        """Whether the cached calls have these tensors, at the same addresses, with unwritten weight bits."""
        return (
            len(constants) == len(self._constants)
            and all(map(operator.is_, constants, self._constants))
            and _places(constants) == self._places
            and _is_unwritten(weight_bits, self._bits_state)
        )

    def __reduce__(self) -> tuple[type["NativeCalls"], tuple[()]]:
        return NativeCalls, ()


def _key(x: Tensor, residual: Tensor | None, options: Any) -> Any:
    beside = None if residual is None else (residual.dtype, residual.shape, residual.stride())
    return x.dtype, x.shape, x.stride(), beside, options


def _places(tensors: list[Tensor | None]) -> list[int]:
    return [each.data_ptr() for each in tensors if each is not None]


def held_bytes(weight_bits: Tensor) -> int:
    """Number of bytes that the engine keeps for `weight_bits`, in addition to the tensor itself."""
    found = _prepared.get(weight_bits)
    if found is None:
        return 0
    state, _, weights = found
    return int(weights.held) + (state.nbytes if isinstance(state, Tensor) else 0)


def forget_forms(weight_bits: Tensor) -> None:
    """Free the forms that the engine keeps for `weight_bits`, unless a prepared call holds them as well."""
    _prepared.pop(weight_bits, None)


def _weights_of(engine: Engine, conv: BinaryConv2d) -> EngineWeights:
    bits = conv.weight_bits
    shape = ConvShape(
        conv.channels, conv.filters, conv.groups, conv.kernel_size, conv.stride, conv.dilation, conv.padding
    )
    found = _prepared.get(bits)
    if found is not None and found[1] == shape and _is_unwritten(bits, found[0]):
        kept: EngineWeights = found[2]
        return kept
    weights = engine.weights(shape)
    _prepared[bits] = _state(bits), shape, weights
    return weights


def _state(bits: Tensor) -> int | Tensor:
    """Return what shows later writes to `bits`: the version, or a copy, as inference tensors have none."""
    return bits.clone() if bits.is_inference() else torch_private.version(bits)


def _is_unwritten(bits: Tensor, state: int | Tensor) -> bool:
    return torch.equal(bits, state) if isinstance(state, Tensor) else torch_private.version(bits) == state


def _input(values: Tensor) -> Tensor:
    """Return `values` in a dtype that the engine reads; float32 has all numbers of the narrower dtypes."""
    return aligned(values if values.dtype in _DTYPES else values.float())


def _residual(values: Tensor | None) -> Tensor | None:
    return None if values is None else aligned(values.float())
