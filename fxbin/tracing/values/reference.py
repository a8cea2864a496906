"""Tables of what NNCF 2.9.0 with torch 2.2, whose names fxbin reproduces, sees of a model."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn

REPLACED_CLASSES = frozenset(
    {
        nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
        nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm,
        nn.Embedding, nn.EmbeddingBag,
    }
)  # fmt: skip
"""Classes that NNCF replaces by its own classes; it does not replace subclasses of them."""

UNNAMED_FUNCTIONS = frozenset(
    {
        "all", "allclose", "any", "arange", "as_tensor", "broadcast_to", "copysign", "dequantize",
        "empty", "get_device", "is_floating_point", "numel", "ones", "ones_like",
        "q_per_channel_axis", "q_per_channel_scales", "q_per_channel_zero_points", "q_scale",
        "q_zero_point", "qr", "rad2deg", "rad2deg_", "rand", "randn", "randn_like", "sort",
        "tensor", "zeros",
    }
)  # fmt: skip
"""Functions ``torch.*`` for which NNCF creates no node."""

UNNAMED_METHODS = frozenset(
    {
        "all", "allclose", "any", "as_subclass", "backward", "broadcast_to", "copysign",
        "copysign_", "cpu", "cuda", "data_ptr", "dequantize", "dim", "get_device", "has_names",
        "is_contiguous", "is_floating_point", "item", "numel", "numpy", "q_per_channel_axis",
        "q_per_channel_scales", "q_per_channel_zero_points", "q_scale", "q_zero_point", "qr",
        "qscheme", "rad2deg", "rad2deg_", "random_", "record_stream", "refine_names",
        "register_hook", "rename", "rename_", "size", "sort", "storage", "storage_offset",
        "stride", "__imod__", "__rmod__", "__lshift__", "__rlshift__", "__ilshift__", "__rshift__",
        "__rrshift__", "__irshift__", "__imatmul__", "__setitem__", "__pos__",
    }
)  # fmt: skip
"""Methods of tensors for which NNCF creates no node."""

SAME_OBJECT = frozenset({"cpu"})
"""Unnamed methods that return the tensor they are called on, so that NNCF still sees the result."""

ITERATION_MODULES = frozenset(
    {
        "LSTMCellForwardNNCF", "StackedRNN", "Recurrent", "VariableRecurrent",
        "VariableRecurrentReverse", "ReverseResetPoint",
    }
)  # fmt: skip
"""Names of classes for which NNCF maps every call to the nodes of the first call."""

UNSEEN_FUNCTIONS = frozenset(
    {
        "lstm", "lstm_cell", "gru", "gru_cell", "rnn_tanh", "rnn_tanh_cell", "rnn_relu", "rnn_relu_cell",
    }
)  # fmt: skip
"""Functions that layers of torch call through ``torch._VF``, which NNCF does not patch."""

FOLLOWED_FUNCTIONS: tuple[Callable[..., Any], ...] = (F.multi_head_attention_forward,)
"""Functions that NNCF does not see, although it sees what they call."""

SPELLED_IN_TORCH_2_2 = {
    ("multi_head_attention_forward", "__mul__"): ("__truediv__",),
    ("multi_head_attention_forward", "reshape"): ("contiguous", "view"),
    ("_SpectralNorm", "vdot"): ("dot",),
}
"""Operators that code of torch has replaced since 2.2: (function or class, operator) to those of 2.2."""
