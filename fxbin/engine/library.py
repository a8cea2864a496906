"""The engine as a loaded C library: its structs, and its functions with Python exceptions."""

import ctypes
import functools
import os
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fxbin.engine.build import built_library
from fxbin.errors import EngineError

ABI_VERSION = 6

MAX_CPU = ("portable", "popcnt", "avx2")
"""Values of the environment variable FXBIN_MAX_CPU, which limits the instructions that kernels use."""

TRAINING = ("1bit", "float")
"""Values of the environment variable FXBIN_TRAINING: whether models in training use the engine."""

_Size = ctypes.c_int64


class _Shape(ctypes.Structure):
    _fields_ = (
        ("channels", _Size),
        ("filters", _Size),
        ("groups", _Size),
        ("kernel", _Size * 2),
        ("stride", _Size * 2),
        ("dilation", _Size * 2),
        ("padding", _Size * 4),
    )


class EngineTensor(ctypes.Structure):
    """The C struct ``fxbin_tensor``: address, number of elements, shape and strides of a tensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", _Size),
        ("shape", _Size * 4),
        ("stride", _Size * 4),
    )


class EngineCall(ctypes.Structure):
    """The C struct ``fxbin_call``: one convolution of weight bits."""

    _fields_ = (
        ("struct_size", _Size),
        ("x", EngineTensor),
        ("x_dtype", _Size),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", _Size),
        ("x_levels", ctypes.c_void_p),
        ("x_levels_size", _Size),
        ("weight_bits", ctypes.c_void_p),
        ("weight_bits_size", _Size),
        ("w_levels", ctypes.c_void_p),
        ("w_levels_size", _Size),
        ("bias", ctypes.c_void_p),
        ("bias_size", _Size),
        ("residual", EngineTensor),
        ("activation", _Size),
        ("slope", ctypes.c_void_p),
        ("slope_size", _Size),
        ("y", EngineTensor),
        ("y_bits", EngineTensor),
        ("y_thresholds", ctypes.c_void_p),
        ("y_thresholds_size", _Size),
        ("kernel", ctypes.c_char_p),
        ("threads", _Size),
        ("parallel_for", ctypes.c_void_p),
        ("parallel_context", ctypes.c_void_p),
    )


class FloatCall(ctypes.Structure):
    """The C struct ``fxbin_float_call``: one convolution of a float weight, as in training."""

    _fields_ = (
        ("struct_size", _Size),
        ("shape", _Shape),
        ("x", EngineTensor),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", _Size),
        ("low", ctypes.c_float),
        ("high", ctypes.c_float),
        ("weight", ctypes.c_void_p),
        ("weight_size", _Size),
        ("scales", ctypes.c_void_p),
        ("scales_size", _Size),
        ("centers", ctypes.c_void_p),
        ("centers_size", _Size),
        ("bias", ctypes.c_void_p),
        ("bias_size", _Size),
        ("y", EngineTensor),
        ("threads", _Size),
    )


class SteCall(ctypes.Structure):
    """The C struct ``fxbin_ste_call``: the backward of an activation binarizer."""

    _fields_ = (
        ("struct_size", _Size),
        ("g", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("grad_x", ctypes.c_void_p),
        ("fired", ctypes.c_void_p),
        ("size", _Size),
        ("pictures", _Size),
        ("channels", _Size),
        ("plane", _Size),
        ("is_planar", _Size),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", _Size),
        ("low", ctypes.c_float),
        ("high", ctypes.c_float),
        ("estimator", _Size),
        ("parameter", ctypes.c_float),
        ("peak", ctypes.c_float),
        ("sums", ctypes.c_void_p),
        ("sums_size", _Size),
        ("threads", _Size),
    )


class CountCall(ctypes.Structure):
    """The C struct ``fxbin_count_call``: how many activations of each channel are high."""

    _fields_ = (
        ("struct_size", _Size),
        ("x", ctypes.c_void_p),
        ("size", _Size),
        ("pictures", _Size),
        ("channels", _Size),
        ("plane", _Size),
        ("is_planar", _Size),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", _Size),
        ("counts", ctypes.c_void_p),
        ("counts_size", _Size),
        ("threads", _Size),
    )


class LevelCall(ctypes.Structure):
    """The C struct ``fxbin_level_call``: gradients of a weight and of the levels of its input."""

    _fields_ = (
        ("struct_size", _Size),
        ("grad_w", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("w_size", _Size),
        ("high", ctypes.c_float),
        ("multiplier", ctypes.c_double),
        ("sums", ctypes.c_void_p),
        ("sums_size", _Size),
        ("t", ctypes.c_void_p),
        ("channels", _Size),
        ("grad_scale", ctypes.c_void_p),
        ("grad_logit", ctypes.c_void_p),
    )


class WeightCall(ctypes.Structure):
    """The C struct ``fxbin_weight_call``: what follows from the gradient of a two-level weight."""

    _fields_ = (
        ("struct_size", _Size),
        ("g", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("w_size", _Size),
        ("filters", _Size),
        ("scales", ctypes.c_void_p),
        ("scales_size", _Size),
        ("estimator", _Size),
        ("parameter", ctypes.c_float),
        ("peak", ctypes.c_float),
        ("is_scaled", _Size),
        ("products", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("sums_size", _Size),
        ("more", ctypes.c_double),
        ("low", ctypes.c_float),
        ("high", ctypes.c_float),
        ("grad_thresholds", ctypes.c_void_p),
        ("grad_thresholds_size", _Size),
        ("grad_levels", ctypes.c_void_p),
    )


class StandardizeCall(ctypes.Structure):
    """The C struct ``fxbin_standardize_call``: standardized weights, or their gradient."""

    _fields_ = (
        ("struct_size", _Size),
        ("w", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("size", _Size),
        ("means", ctypes.c_void_p),
        ("inverses", ctypes.c_void_p),
        ("filters", _Size),
        ("smallest", ctypes.c_float),
    )


class RPReLUCall(ctypes.Structure):
    """The C struct ``fxbin_rprelu_call``: an RPReLU, or its gradients."""

    _fields_ = (
        ("struct_size", _Size),
        ("x", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("size", _Size),
        ("pictures", _Size),
        ("channels", _Size),
        ("plane", _Size),
        ("is_planar", _Size),
        ("gamma", ctypes.c_void_p),
        ("zeta", ctypes.c_void_p),
        ("beta", ctypes.c_void_p),
        ("grad_gamma", ctypes.c_void_p),
        ("grad_zeta", ctypes.c_void_p),
        ("grad_beta", ctypes.c_void_p),
        ("threads", _Size),
    )


@dataclass(frozen=True)
class ConvShape:
    """The sizes that all calls of a convolution have in common."""

    channels: int
    filters: int
    groups: int
    kernel: tuple[int, int]
    """Height, width; `stride` and `dilation` are vertical, horizontal."""
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    """Top, bottom, left, right."""

    def as_struct(self) -> _Shape:
        """Return the C struct ``fxbin_shape`` with these sizes."""
        return _Shape(
            self.channels, self.filters, self.groups, self.kernel, self.stride, self.dilation, self.padding
        )


class Engine:
    """The functions of the loaded library."""

    def __init__(self, path: Path) -> None:
        self._functions: Any = ctypes.CDLL(str(path))
        self._functions.fxbin_abi_version.restype = _Size
        self._functions.fxbin_last_error.restype = ctypes.c_char_p
        self._functions.fxbin_kernel_name.restype = ctypes.c_char_p
        self._functions.fxbin_kernel_name.argtypes = [_Size]
        self._functions.fxbin_weights_held.restype = _Size
        self._functions.fxbin_weights_held.argtypes = [ctypes.c_void_p]
        self._functions.fxbin_weights_destroy.restype = None
        self._functions.fxbin_weights_destroy.argtypes = [ctypes.c_void_p]
        self._functions.fxbin_convolve.argtypes = [ctypes.c_void_p, ctypes.POINTER(EngineCall)]
        self._functions.fxbin_quantize.argtypes = [
            ctypes.c_void_p, _Size, ctypes.c_float, _Size, ctypes.c_void_p, _Size, _Size,
        ]  # fmt: skip
        self._functions.fxbin_convolve_floats.argtypes = [ctypes.POINTER(FloatCall)]
        self._functions.fxbin_ste_gradients.argtypes = [ctypes.POINTER(SteCall)]
        self._functions.fxbin_count_high.argtypes = [ctypes.POINTER(CountCall)]
        self._functions.fxbin_level_gradients.argtypes = [ctypes.POINTER(LevelCall)]
        self._functions.fxbin_weight_gradients.argtypes = [ctypes.POINTER(WeightCall)]
        self._functions.fxbin_standardize.argtypes = [ctypes.POINTER(StandardizeCall)]
        self._functions.fxbin_standardize_gradients.argtypes = [ctypes.POINTER(StandardizeCall)]
        self._functions.fxbin_rprelu.argtypes = [ctypes.POINTER(RPReLUCall)]
        self._functions.fxbin_rprelu_gradients.argtypes = [ctypes.POINTER(RPReLUCall)]
        address = ctypes.c_void_p
        self._functions.fxbin_mean_magnitudes.argtypes = [address, _Size, address, _Size]
        self._functions.fxbin_weight_levels.argtypes = [address, _Size, address, _Size, address]
        version = self._functions.fxbin_abi_version()
        if version != ABI_VERSION:
            raise EngineError(f"{path} is of version {version} of the engine, fxbin needs {ABI_VERSION}")

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that this CPU can run."""
        names: list[str] = []
        while name := self._functions.fxbin_kernel_name(len(names)):
            names.append(name.decode())
        return tuple(names)

    def weights(self, shape: ConvShape) -> "EngineWeights":
        """Create the `EngineWeights` of one convolution, which are empty until it is first computed."""
        handle = ctypes.c_void_p()
        struct = shape.as_struct()
        self.check(self._functions.fxbin_weights_create(ctypes.byref(struct), ctypes.byref(handle)))
        return EngineWeights(self, handle)

    def output_size(self, shape: ConvShape, size: Sequence[int]) -> tuple[int, int]:
        """Return height and width of the output for an input of the height and width `size`."""
        found, struct = (_Size * 2)(), shape.as_struct()
        self.check(self._functions.fxbin_output_size(ctypes.byref(struct), (_Size * 2)(*size), found))
        return found[0], found[1]

    def quantize(self, x: Tensor, inverse_scale: float, zero_point: int, y: Tensor, threads: int) -> None:
        """Write ``round(x * inverse_scale) + zero_point``, clamped to 0 .. 255, into the memory of `y`.

        Both tensors are dense and in the same layout: x float32, y uint8.
        """
        places = x.data_ptr(), x.numel(), inverse_scale, zero_point, y.data_ptr(), y.numel(), threads
        self.check(self._functions.fxbin_quantize(*places))

    def convolve_floats(self, call: FloatCall) -> None:
        """Compute the convolution `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_convolve_floats(ctypes.byref(call)))

    def ste_gradients(self, call: SteCall) -> None:
        """Compute the gradients of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_ste_gradients(ctypes.byref(call)))

    def count_high(self, call: CountCall) -> None:
        """Add to the counts of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_count_high(ctypes.byref(call)))

    def standardize(self, call: StandardizeCall) -> None:
        """Compute the values of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_standardize(ctypes.byref(call)))

    def standardize_gradients(self, call: StandardizeCall) -> None:
        """Compute the gradient of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_standardize_gradients(ctypes.byref(call)))

    def rprelu(self, call: RPReLUCall) -> None:
        """Compute the values of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_rprelu(ctypes.byref(call)))

    def rprelu_gradients(self, call: RPReLUCall) -> None:
        """Compute the gradients of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_rprelu_gradients(ctypes.byref(call)))

    def mean_magnitudes(self, w: int, size: int, means: int, means_size: int) -> None:
        """Write mean magnitudes of a weight to `means`; `w` and `means` are addresses, see the C header."""
        self.check(self._functions.fxbin_mean_magnitudes(w, size, means, means_size))

    def weight_levels(self, w: int, size: int, scales: int, scales_size: int, y: int) -> None:
        """Write a two-level weight to `y`; `w`, `scales` and `y` are addresses, see the C header."""
        self.check(self._functions.fxbin_weight_levels(w, size, scales, scales_size, y))

    def level_gradients(self, call: LevelCall) -> None:
        """Compute the gradients of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_level_gradients(ctypes.byref(call)))

    def weight_gradients(self, call: WeightCall) -> None:
        """Compute the gradients of `call`. Raises EngineError if its sizes do not fit one another."""
        self.check(self._functions.fxbin_weight_gradients(ctypes.byref(call)))

    def check(self, status: int) -> None:
        """Raise EngineError or MemoryError with the engine's own message if `status` is not 0."""
        if status:
            message = self._functions.fxbin_last_error().decode()
            raise MemoryError(message) if status == 2 else EngineError(message)


class EngineWeights:
    """The forms of one weight that kernels work with. They are freed with this object."""

    def __init__(self, engine: Engine, handle: ctypes.c_void_p) -> None:
        self._engine, self._handle = engine, handle
        weakref.finalize(self, engine._functions.fxbin_weights_destroy, handle)

    @property
    def held(self) -> int:
        """Number of bytes that the forms take at the moment."""
        return int(self._engine._functions.fxbin_weights_held(self._handle))

    def convolve(self, call: EngineCall) -> None:
        """Compute `call`. Raises EngineError if it does not fit the shape, or a tensor exceeds its memory."""
        self._engine.check(self._engine._functions.fxbin_convolve(self._handle, ctypes.byref(call)))


@functools.cache
def engine() -> Engine | None:
    """Return the engine, built if necessary; None, after one warning, if that is not possible.

    Raises EngineError if an environment variable is wrong.
    """
    found = engine_or_why_not()
    if isinstance(found, Engine):
        return found
    warnings.warn(
        f"fxbin's 1-bit engine is not available: {found}. Deployed models compute the same numbers with "
        "PyTorch's operators instead, in float and several times slower.",
        stacklevel=2,
    )
    return None


@functools.cache
def engine_or_why_not() -> "Engine | EngineError | OSError":
    """Return the engine, built if necessary, or the error that prevents it.

    Raises EngineError if an environment variable is wrong.
    """
    most = os.environ.get("FXBIN_MAX_CPU", "")
    if most not in ("", *MAX_CPU):
        raise EngineError(f"FXBIN_MAX_CPU: expected one of {MAX_CPU}, got {most!r}")
    try:
        return Engine(built_library())
    except (EngineError, OSError) as error:
        return error


@functools.cache
def training_engine() -> Engine | None:
    """Return the engine for training, built if necessary; None if that is not possible or it is switched off.

    There is no warning, because training does not need the engine: it computes the same in float.
    Raises EngineError if an environment variable is wrong.
    """
    chosen = os.environ.get("FXBIN_TRAINING", "")
    if chosen not in ("", *TRAINING):
        raise EngineError(f"FXBIN_TRAINING: expected one of {TRAINING}, got {chosen!r}")
    found = None if chosen == "float" else engine_or_why_not()
    return found if isinstance(found, Engine) else None
