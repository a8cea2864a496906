"""RPReLU and its gradients, each in one pass over its input, by the engine."""

from ctypes import sizeof

import torch
from torch import Tensor

from fxbin.engine.library import Engine
from fxbin.engine.memory import dense, in_layout, is_channels_last, thread_count
from fxbin.engine.structs import RPReLUCall


def rprelu(engine: Engine, x: Tensor, gamma: Tensor, zeta: Tensor, beta: Tensor) -> Tensor:
    """Return ``d + zeta`` where ``d = x - gamma`` is above 0, else ``beta d + zeta``.

    Shapes: x ``(n, c, h, w)``, not empty, without gaps in the default layout or channels_last; the others
    ``(c,)``; all float32.
    """
    y = torch.empty_like(x)
    gamma, zeta, beta = dense(gamma), dense(zeta), dense(beta)
    call = _call(x, y, is_channels_last(x))
    call.gamma, call.zeta, call.beta = gamma.data_ptr(), zeta.data_ptr(), beta.data_ptr()
    engine.rprelu(call)
    return y


def rprelu_gradients(
    engine: Engine, g: Tensor, x: Tensor, gamma: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, gamma, zeta and beta, given that of the output of `rprelu`, `g`."""
    is_last = is_channels_last(x)
    g, gamma, beta = in_layout(g, is_last), dense(gamma), dense(beta)
    grad_x = torch.empty_like(x)
    grads = torch.empty_like(gamma), torch.empty_like(gamma), torch.empty_like(beta)
    call = _call(x, grad_x, is_last)
    call.g = g.data_ptr()
    call.gamma, call.zeta, call.beta = gamma.data_ptr(), gamma.data_ptr(), beta.data_ptr()
    call.grad_gamma, call.grad_zeta, call.grad_beta = (each.data_ptr() for each in grads)
    engine.rprelu_gradients(call)
    return grad_x, *grads


def _call(x: Tensor, y: Tensor, is_last: bool) -> RPReLUCall:
    """The call with all that `rprelu` and its gradients have in common."""
    pictures, channels, height, width = x.shape
    return RPReLUCall(
        sizeof(RPReLUCall), x.data_ptr(), None, y.data_ptr(), x.numel(), pictures, channels, height * width,
        not is_last, threads=thread_count(),
    )  # fmt: skip
