"""Which parameters get no weight decay: what `wd_exclude` in a config names."""

from collections.abc import Callable, Iterable, Iterator

from torch import nn

from fxbin import torch_private
from fxbin.added.rprelu import RPReLU
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.weight_source import weight_sources
from fxbin.config.params import WITHOUT_DECAY
from fxbin.config.pattern import matches_text
from fxbin.errors import ConfigError
from fxbin.errors.messages import listed

NORMS = (
    torch_private.BatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
"""Classes of normalization layers; subclasses count."""

Parameters = Iterator[nn.Parameter]


def without_decay(model: BinarizedModule, entries: Iterable[str]) -> list[nn.Parameter]:
    """The parameters of `model` that `entries` name: kinds of `wd_exclude`, or ``{re}`` and an expression.

    A kind that the model has no parameters of is fine. Raises ConfigError for an expression that matches the
    name of no parameter.
    """
    found: dict[nn.Parameter, None] = {}
    for entry in entries:
        found |= dict.fromkeys(KINDS[entry](model) if entry in KINDS else _named(model, entry))
    return list(found)


def _norms(model: BinarizedModule) -> Parameters:
    return _of_layers(model, NORMS)


def _slopes(model: BinarizedModule) -> Parameters:
    return _of_layers(model, (nn.PReLU, RPReLU))


def _of_layers(model: BinarizedModule, classes: tuple[type[nn.Module], ...]) -> Parameters:
    for module in model.modules():
        if isinstance(module, classes):
            yield from module.parameters(recurse=False)


def _biases(model: BinarizedModule) -> Parameters:
    for name, parameter in model.named_parameters():
        # A parametrized one is `parametrizations.bias.original`.
        own = name.rpartition("parametrizations.")[2].split(".")[0] if "parametrizations." in name else name
        last = own.rpartition(".")[2]
        if last == "bias" or last.endswith("_bias"):
            yield parameter


def _of_binarizers(model: BinarizedModule) -> Parameters:
    yield from model.binarization.parameters()


def _binarized_weights(model: BinarizedModule) -> Parameters:
    for source in weight_sources(model).values():
        yield from source.parameters()


def _named(model: BinarizedModule, pattern: str) -> Parameters:
    names = {name: parameter for name, parameter in model.named_parameters() if matches_text(name, pattern)}
    if not names:
        known = listed([name for name, _ in model.named_parameters()])
        raise ConfigError(
            f"params.wd_exclude: {pattern!r} matches the name of no parameter, expected one such as {known}. "
            "Correct it, or remove it."
        )
    yield from names.values()


KINDS: dict[str, Callable[[BinarizedModule], Parameters]] = dict(
    zip(WITHOUT_DECAY, (_norms, _biases, _slopes, _of_binarizers, _binarized_weights), strict=True)
)
"""The parameters of each kind, by its name in `wd_exclude`."""
