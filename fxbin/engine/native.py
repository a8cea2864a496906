"""A two-level convolution by the engine."""

from ctypes import sizeof

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from fxbin import torch_private
from fxbin.engine.binary_conv2d import ACTIVATIONS, BinaryConv2d
from fxbin.engine.library import ConvShape, Engine, EngineCall, EngineTensor, EngineWeights

_DTYPES = {torch.float32: 0, torch.float64: 1}
"""``enum fxbin_dtype``."""

MOST_THREADS = 64
"""More are not started."""

_CALL_SIZE = sizeof(EngineCall)
_NOTHING = EngineTensor()

_prepared: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""By tensor of weight bits: its state and shape when the engine took it, and what the engine keeps."""


def run_natively(engine: Engine, conv: BinaryConv2d, kernel_name: str | None = None) -> Tensor:
    """The output of `conv`, computed by the kernel of that name, by default the fastest."""
    return NativeCall(engine, conv, kernel_name).run()


class NativeCall:
    """One convolution as the engine takes it, with all the memory that it points to."""

    def __init__(self, engine: Engine, conv: BinaryConv2d, kernel_name: str | None = None) -> None:
        x, thresholds, residual = conv.x, conv.thresholds, conv.residual
        if x.dtype not in _DTYPES:  # exact: float32 has all numbers of dtypes with fewer bits
            x, thresholds = x.float(), thresholds.float()
        if residual is not None and residual.dtype != torch.float32:
            residual = residual.float()
        x, residual = _aligned(x), None if residual is None else _aligned(residual)
        y = conv.new_output(torch.float32)
        vectors = thresholds, conv.x_levels, conv.weight_bits, conv.w_levels
        thresholds, x_levels, bits, w_levels = [_aligned(vector.contiguous()) for vector in vectors]
        bias, slope = _vector(conv.bias), _vector(conv.slope)
        self.conv = conv
        self._kept = x, thresholds, x_levels, bits, w_levels, bias, residual, slope
        self._y, self._dtype = y, conv.x.dtype
        self._weights = _weights_of(engine, conv)
        self._call = EngineCall(
            _CALL_SIZE,
            _tensor(x),
            _DTYPES[x.dtype],
            *(thresholds.data_ptr(), thresholds.numel()),
            *(x_levels.data_ptr(), 2),
            *(bits.data_ptr(), bits.numel()),
            *(w_levels.data_ptr(), w_levels.numel()),
            *_place(bias),
            _NOTHING if residual is None else _tensor(residual),
            ACTIVATIONS.index(conv.activation),
            *_place(slope),
            EngineTensor(y.data_ptr(), y.numel(), y.shape, y.stride()),
            None if kernel_name is None else kernel_name.encode(),
            min(torch.get_num_threads(), MOST_THREADS),
        )

    def run(self) -> Tensor:
        """Compute the output; a second time into the same memory."""
        self._weights.convolve(self._call)
        return self._y if self._dtype == torch.float32 else self._y.to(self._dtype)


def held_bytes(weight_bits: Tensor) -> int:
    """Bytes that the engine keeps of `weight_bits`, beside the tensor itself."""
    found = _prepared.get(weight_bits)
    return 0 if found is None else found[-1].held


def _weights_of(engine: Engine, conv: BinaryConv2d) -> EngineWeights:
    bits = conv.weight_bits
    shape = ConvShape(
        conv.x.shape[1], conv.filters, conv.groups, conv.kernel_size, conv.stride, conv.dilation, conv.padding
    )
    found = _prepared.get(bits)
    if found is not None and found[1] == shape and _is_unwritten(bits, found[0]):
        kept: EngineWeights = found[2]
        return kept
    weights = engine.weights(shape)
    _prepared[bits] = (bits.clone() if bits.is_inference() else torch_private.version(bits), shape, weights)
    return weights


def _is_unwritten(bits: Tensor, state: int | Tensor) -> bool:
    """Whether `bits` are still in `state`: a version, or a copy, as tensors of inference mode have none."""
    return torch.equal(bits, state) if isinstance(state, Tensor) else torch_private.version(bits) == state


def _vector(values: Tensor | None) -> Tensor | None:
    return None if values is None else _aligned(values.contiguous())


def _aligned(values: Tensor) -> Tensor:
    """`values`, copied if they are in the middle of something else, such as a file that was read."""
    return values.clone() if values.data_ptr() % values.element_size() else values


def _place(values: Tensor | None) -> tuple[int | None, int]:
    return (None, 0) if values is None else (values.data_ptr(), values.numel())


def _tensor(values: Tensor) -> EngineTensor:
    """`values` with the bounds of its storage, which the engine checks the strides against."""
    size = values.untyped_storage().nbytes() // values.element_size() - values.storage_offset()
    return EngineTensor(values.data_ptr(), size, values.shape, values.stride())
