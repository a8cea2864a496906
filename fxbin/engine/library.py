"""The engine as a loaded C library: its functions, with Python exceptions."""

import ctypes
import functools
import os
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fxbin.engine.build import built_library
from fxbin.engine.structs import (
    ConvShape,
    CountCall,
    EngineCall,
    FloatCall,
    LevelCall,
    RPReLUCall,
    Size,
    StandardizeCall,
    SteCall,
    WeightCall,
)
from fxbin.errors import EngineError

ABI_VERSION = 7

MAX_CPU = ("portable", "popcnt", "avx2")
"""Values of the environment variable FXBIN_MAX_CPU, which limits the instructions that kernels use."""

TRAINING = ("1bit", "float")
"""Values of the environment variable FXBIN_TRAINING: whether models in training use the engine."""


class Engine:
    """The functions of the loaded library."""

    def __init__(self, path: Path) -> None:
        self._functions: Any = ctypes.CDLL(str(path))
        self._functions.fxbin_abi_version.restype = Size
        self._functions.fxbin_last_error.restype = ctypes.c_char_p
        self._functions.fxbin_kernel_name.restype = ctypes.c_char_p
        self._functions.fxbin_kernel_name.argtypes = [Size]
        self._functions.fxbin_weights_held.restype = Size
        self._functions.fxbin_weights_held.argtypes = [ctypes.c_void_p]
        self._functions.fxbin_weights_destroy.restype = None
        self._functions.fxbin_weights_destroy.argtypes = [ctypes.c_void_p]
        self._functions.fxbin_convolve.argtypes = [ctypes.c_void_p, ctypes.POINTER(EngineCall)]
        self._functions.fxbin_quantize.argtypes = [
            ctypes.c_void_p, Size, ctypes.c_float, Size, ctypes.c_void_p, Size, Size,
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
        self._functions.fxbin_mean_magnitudes.argtypes = [address, Size, address, Size]
        self._functions.fxbin_weight_levels.argtypes = [address, Size, address, Size, address]
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
        found, struct = (Size * 2)(), shape.as_struct()
        self.check(self._functions.fxbin_output_size(ctypes.byref(struct), (Size * 2)(*size), found))
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
