"""Call sites that compute one thing twice."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, fx

from fxbin.export.conv_call import ConvCall, conv_calls


def repeated_calls(module: fx.GraphModule, names: Collection[str]) -> int:
    """How many of the call sites `names` repeat another one: same input, same weight, equal thresholds.

    OpenVINO computes such convolutions once, however far the export keeps their constants apart.
    """
    calls = [call for call in conv_calls(module) if call.name in names]
    return len(calls) - len({_identity(call) for call in calls})


def _identity(call: ConvCall) -> tuple[Any, ...]:
    assert call.activation is not None
    options = [call.arguments[name] for name in ("stride", "padding", "dilation", "groups")]
    thresholds = tuple(_content(value) for value in call.activation.state_dict().values())
    return (
        call.arguments["input"].args[0],
        _origin(call.arguments["weight"].args[0]),
        str(options),
        thresholds,
    )


def _origin(weight: fx.Node) -> Any:
    return weight.target if weight.op == "get_attr" else weight


def _content(value: Tensor) -> tuple[float, ...]:
    return tuple(value.flatten().tolist())
