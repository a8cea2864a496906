"""A two-level convolution by the engine."""

from ctypes import sizeof

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from fxbin.engine.binary_conv2d import ACTIVATIONS, BinaryConv2d
from fxbin.engine.library import ConvShape, Engine, EngineCall, EngineTensor, EngineWeights
from fxbin.errors import EngineError

_DTYPES = {torch.float32: 0, torch.float64: 1}
"""``enum fxbin_dtype``."""

_prepared: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""By tensor of weight bits: its version and shape when the engine took it, and what the engine keeps."""


def run_natively(engine: Engine, conv: BinaryConv2d, kernel_name: str | None = None) -> Tensor:
    """The output of `conv`, computed by the kernel of that name, by default the fastest."""
    x, thresholds = conv.x, conv.thresholds
    if x.dtype not in _DTYPES:  # exact: both are floats of fewer bits
        x, thresholds = x.float(), thresholds.float()
    y = conv.new_output(torch.float32)
    residual = None if conv.residual is None else conv.residual.float()
    # Named, so that they live until the engine has returned.
    vectors = [_vector(v) for v in (thresholds, conv.x_levels, conv.weight_bits, conv.w_levels)]
    bias, slope = _vector(conv.bias), _vector(conv.slope)
    call = EngineCall(
        sizeof(EngineCall),
        _tensor(x),
        _DTYPES[x.dtype],
        *(number for vector in vectors for number in _place(vector)),
        *_place(bias),
        EngineTensor() if residual is None else _tensor(residual),
        ACTIVATIONS.index(conv.activation),
        *_place(slope),
        _tensor(y),
        None if kernel_name is None else kernel_name.encode(),
        torch.get_num_threads(),
    )
    _weights_of(engine, conv).convolve(call)
    return y.to(conv.x.dtype)


def forget(weight_bits: Tensor) -> None:
    """Make the engine's forms of `weight_bits` anew when it is next used."""
    _prepared.pop(weight_bits, None)


def held_bytes(weight_bits: Tensor) -> int:
    """Bytes that the engine keeps of `weight_bits`, beside the tensor itself."""
    found = _prepared.get(weight_bits)
    return 0 if found is None else found[-1].held


def _weights_of(engine: Engine, conv: BinaryConv2d) -> EngineWeights:
    bits = conv.weight_bits
    version = 0 if bits.is_inference() else bits._version
    shape = ConvShape(
        conv.x.shape[1], conv.filters, conv.groups, conv.kernel_size, conv.stride, conv.dilation, conv.padding
    )
    found = _prepared.get(bits)
    if found is not None and found[:2] == (version, shape):
        kept: EngineWeights = found[2]
        return kept
    weights = engine.weights(shape)
    _prepared[bits] = (version, shape, weights)
    return weights


def _vector(values: Tensor | None) -> Tensor | None:
    if values is not None and values.device.type != "cpu":
        raise EngineError(f"binary_conv2d: expected tensors on the CPU, got one on {values.device}")
    return None if values is None else values.contiguous()


def _place(values: Tensor | None) -> tuple[int | None, int]:
    return (None, 0) if values is None else (values.data_ptr(), values.numel())


def _tensor(values: Tensor) -> EngineTensor:
    """`values` with the bounds of its storage, which the engine checks the strides against."""
    size = values.untyped_storage().nbytes() // values.element_size() - values.storage_offset()
    return EngineTensor(values.data_ptr(), size, tuple(values.shape), values.stride())
