"""The C structs of `fxbin_engine.h`, through which the library is called."""

import ctypes
from dataclasses import dataclass

Size = ctypes.c_int64


class _Shape(ctypes.Structure):
    _fields_ = (
        ("channels", Size),
        ("filters", Size),
        ("groups", Size),
        ("kernel", Size * 2),
        ("stride", Size * 2),
        ("dilation", Size * 2),
        ("padding", Size * 4),
    )


class EngineTensor(ctypes.Structure):
    """The C struct ``fxbin_tensor``: address, number of elements, shape and strides of a tensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", Size),
        ("shape", Size * 4),
        ("stride", Size * 4),
    )


class EngineCall(ctypes.Structure):
    """The C struct ``fxbin_call``: one convolution of weight bits."""

    _fields_ = (
        ("struct_size", Size),
        ("x", EngineTensor),
        ("x_dtype", Size),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", Size),
        ("x_levels", ctypes.c_void_p),
        ("x_levels_size", Size),
        ("weight_bits", ctypes.c_void_p),
        ("weight_bits_size", Size),
        ("w_levels", ctypes.c_void_p),
        ("w_levels_size", Size),
        ("bias", ctypes.c_void_p),
        ("bias_size", Size),
        ("residual", EngineTensor),
        ("activation", Size),
        ("slope", ctypes.c_void_p),
        ("slope_size", Size),
        ("y", EngineTensor),
        ("y_bits", EngineTensor),
        ("y_thresholds", ctypes.c_void_p),
        ("y_thresholds_size", Size),
        ("kernel", ctypes.c_char_p),
        ("threads", Size),
        ("parallel_for", ctypes.c_void_p),
        ("parallel_context", ctypes.c_void_p),
    )


class FloatCall(ctypes.Structure):
    """The C struct ``fxbin_float_call``: one convolution of a float weight, as in training."""

    _fields_ = (
        ("struct_size", Size),
        ("shape", _Shape),
        ("x", EngineTensor),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", Size),
        ("low", ctypes.c_float),
        ("high", ctypes.c_float),
        ("weight", ctypes.c_void_p),
        ("weight_size", Size),
        ("scales", ctypes.c_void_p),
        ("scales_size", Size),
        ("centers", ctypes.c_void_p),
        ("centers_size", Size),
        ("bias", ctypes.c_void_p),
        ("bias_size", Size),
        ("y", EngineTensor),
        ("threads", Size),
    )


class SteCall(ctypes.Structure):
    """The C struct ``fxbin_ste_call``: the backward of an activation binarizer."""

    _fields_ = (
        ("struct_size", Size),
        ("g", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("grad_x", ctypes.c_void_p),
        ("fired", ctypes.c_void_p),
        ("size", Size),
        ("pictures", Size),
        ("channels", Size),
        ("plane", Size),
        ("is_planar", Size),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", Size),
        ("low", ctypes.c_float),
        ("high", ctypes.c_float),
        ("estimator", Size),
        ("parameter", ctypes.c_float),
        ("peak", ctypes.c_float),
        ("sums", ctypes.c_void_p),
        ("sums_size", Size),
        ("threads", Size),
    )


class CountCall(ctypes.Structure):
    """The C struct ``fxbin_count_call``: how many activations of each channel are high."""

    _fields_ = (
        ("struct_size", Size),
        ("x", ctypes.c_void_p),
        ("size", Size),
        ("pictures", Size),
        ("channels", Size),
        ("plane", Size),
        ("is_planar", Size),
        ("thresholds", ctypes.c_void_p),
        ("thresholds_size", Size),
        ("counts", ctypes.c_void_p),
        ("counts_size", Size),
        ("threads", Size),
    )


class LevelCall(ctypes.Structure):
    """The C struct ``fxbin_level_call``: gradients of a weight and of the levels of its input."""

    _fields_ = (
        ("struct_size", Size),
        ("grad_w", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("w_size", Size),
        ("high", ctypes.c_float),
        ("multiplier", ctypes.c_double),
        ("sums", ctypes.c_void_p),
        ("sums_size", Size),
        ("t", ctypes.c_void_p),
        ("channels", Size),
        ("grad_scale", ctypes.c_void_p),
        ("grad_logit", ctypes.c_void_p),
    )


class WeightCall(ctypes.Structure):
    """The C struct ``fxbin_weight_call``: what follows from the gradient of a two-level weight."""

    _fields_ = (
        ("struct_size", Size),
        ("g", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("w_size", Size),
        ("filters", Size),
        ("scales", ctypes.c_void_p),
        ("scales_size", Size),
        ("estimator", Size),
        ("parameter", ctypes.c_float),
        ("peak", ctypes.c_float),
        ("is_scaled", Size),
        ("products", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("sums_size", Size),
        ("more", ctypes.c_double),
        ("low", ctypes.c_float),
        ("high", ctypes.c_float),
        ("grad_thresholds", ctypes.c_void_p),
        ("grad_thresholds_size", Size),
        ("grad_levels", ctypes.c_void_p),
        ("grad_levels_size", Size),
    )


class StandardizeCall(ctypes.Structure):
    """The C struct ``fxbin_standardize_call``: standardized weights, or their gradient."""

    _fields_ = (
        ("struct_size", Size),
        ("w", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("size", Size),
        ("means", ctypes.c_void_p),
        ("inverses", ctypes.c_void_p),
        ("filters", Size),
        ("smallest", ctypes.c_float),
    )


class RPReLUCall(ctypes.Structure):
    """The C struct ``fxbin_rprelu_call``: an RPReLU, or its gradients."""

    _fields_ = (
        ("struct_size", Size),
        ("x", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("size", Size),
        ("pictures", Size),
        ("channels", Size),
        ("plane", Size),
        ("is_planar", Size),
        ("gamma", ctypes.c_void_p),
        ("zeta", ctypes.c_void_p),
        ("beta", ctypes.c_void_p),
        ("grad_gamma", ctypes.c_void_p),
        ("grad_zeta", ctypes.c_void_p),
        ("grad_beta", ctypes.c_void_p),
        ("threads", Size),
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
