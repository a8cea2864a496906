"""Lets what gradient checkpointing runs again in the backward use the binarizers that it used at first."""

import functools
from collections.abc import Callable
from typing import Any

from torch.utils.checkpoint import CheckpointFunction

from fxbin import torch_private
from fxbin.binarized.running import resumable, still_running


@functools.cache
def resume_in_checkpoints() -> None:
    """Let `torch.utils.checkpoint` repeat what it is given as a part of the forward that it is called in.

    In the backward no forward of the model is running: its calls of `F.conv2d` would be plain ones, and which
    call site a call belongs to could not be counted. So both kinds of checkpoints keep, at their start, which
    code of which model is running and what it has counted. Without such code they are as before.

    The classes of torch are changed for good, as code may have kept references to the functions.
    """
    frame: Any = torch_private.CheckpointFrame
    frame.__init__ = _frame_init(frame.__init__)
    function: Any = CheckpointFunction
    function.forward = staticmethod(_reentrant_forward(function.forward))


def _frame_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def replaced(self: Any, recompute_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        init(self, resumable(recompute_fn), *args, **kwargs)

    return replaced


def _reentrant_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def replaced(ctx: Any, run_function: Callable[..., Any], *args: Any) -> Any:
        repeated = resumable(run_function)
        y = forward(ctx, still_running(run_function), *args)
        ctx.run_function = repeated
        return y

    return replaced
