"""How many activations of each channel have the high level, by the engine."""

from ctypes import sizeof

from torch import Tensor

from fxbin.engine.library import Engine
from fxbin.engine.memory import dense, in_layout, is_channels_last, thread_count
from fxbin.engine.structs import CountCall


def count_high(engine: Engine, x: Tensor, threshold: Tensor, counts: Tensor) -> None:
    """Add to `counts` how many values of each channel of `x` are above its `threshold`; NaN is not.

    Shapes: x ``(n, c, h, w)``, not empty; threshold ``(1, c, 1, 1)``, both float32; counts int64 ``(c,)``,
    without gaps; all on the CPU.
    """
    is_last = is_channels_last(x)
    x, threshold = in_layout(x, is_last), dense(threshold)
    pictures, channels, height, width = x.shape
    engine.count_high(
        CountCall(
            sizeof(CountCall), x.data_ptr(), x.numel(), pictures, channels, height * width, not is_last,
            threshold.data_ptr(), threshold.numel(), counts.data_ptr(), len(counts), thread_count(),
        )
    )  # fmt: skip
