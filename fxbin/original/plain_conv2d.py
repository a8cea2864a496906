"""Tells whether a layer is a conv2d of torch whose code is torch's own."""

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
    methods = (type(module).forward, torch_private.conv_forward(module))
    return all(getattr(method, "__globals__", None) is _OF_TORCH for method in methods)


# Dynamo, which knows no `__globals__`, runs it as it is.
setattr(is_plain_conv2d, torch_private.MARKED_CONSTANT, True)

_OF_TORCH = vars(torch.nn.modules.conv)
