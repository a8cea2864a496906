"""Tells whether a layer is a conv2d of torch whose code is torch's own."""

from typing import Any

import torch
from torch import nn

from fxbin import torch_private


def is_plain_conv2d(module: nn.Module) -> bool:
    """Whether the class of `module` computes what `nn.Conv2d` of torch does.

    A subclass may override other methods. What somebody has assigned to `nn.Conv2d` itself is not torch's own
    code. A `forward` that was assigned to the module itself does not count.
    """
    if not isinstance(module, nn.Conv2d):
        return False
    kind: Any = type(module)
    if torch.compiler.is_compiling():  # Dynamo knows no `__globals__`, and that of torch 2.9 no attrgetter
        own = torch_private.CONV_FORWARD in vars(module)
        method = getattr(kind, torch_private.CONV_FORWARD)
        return not own and kind.forward is _FORWARD and method is _CONV_FORWARD
    methods = (kind.forward, torch_private.conv_forward(module))
    return all(getattr(method, "__globals__", None) is _OF_TORCH for method in methods)


_OF_TORCH = vars(torch.nn.modules.conv)
_FORWARD, _CONV_FORWARD = nn.Conv2d.forward, torch_private.conv_forward(nn.Conv2d)
