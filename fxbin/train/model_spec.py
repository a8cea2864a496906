"""Builds models by name: the forms that `model` in a config and MODEL on the command line may have.

| spec | the model |
| --- | --- |
| ``resnet_thin``, ``resnet18_thin`` | one of `fxbin.train.models` |
| ``torchvision:resnet18`` or just ``resnet18`` | `torchvision.models.get_model` |
| ``timm:resnet18`` | `timm.create_model` |
| ``pytorchcv:resnet20_cifar10`` | `pytorchcv.model_provider.get_model` |
| ``path/to/file.py:make_model`` | what that function or class returns when called |
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from fxbin import torch_private
from fxbin.errors import ConfigError, FxbinError
from fxbin.errors.messages import closest
from fxbin.train.models import resnet18_thin, resnet_thin
from fxbin.train.other_classes import with_classes
from fxbin.train.python_file import OF_USERS, described, load_callable, split_spec
from fxbin.train.torchvision_operators import declare_operators

OWN_MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet_thin": resnet_thin,
    "resnet18_thin": resnet18_thin,
}


def build_model(
    spec: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    pretrained: bool = False,
    params: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the model that `spec` names; the module docstring lists the forms.

    `num_classes` and `in_channels` are passed under the library's own names, if the model has such an
    option; None leaves the default. `pretrained` asks torchvision, timm or pytorchcv for trained
    weights, which they may have to download. `params` are further keyword arguments.

    Raises ConfigError if the name is unknown, if its package is not installed, if it has no pretrained
    weights, or if it cannot be built with these arguments.
    """
    library, _, name = spec.rpartition(":")
    options: dict[str, Any]
    if own := split_spec(spec):
        make, options = load_callable(*own, spec), {}
        names = {"num_classes": "num_classes", "in_channels": "in_channels"}
    elif not library and name in OWN_MODELS:
        make, options, names = (
            OWN_MODELS[name],
            {},
            {"num_classes": "num_classes", "in_channels": "in_channels"},
        )
    else:
        make, options, names = from_library(library or "torchvision", name, spec, pretrained)
    if pretrained and not options:
        raise ConfigError(
            f"model: {spec!r} has no pretrained weights; they come with torchvision:, timm:, ..."
        )
    wanted = {"num_classes": num_classes, "in_channels": in_channels}
    options |= {names[key]: value for key, value in wanted.items() if value is not None and key in names}
    given = accepted(make, options) | dict(params or {})
    return with_weights(make, given, spec) if pretrained else call(make, given, spec)


def from_library(
    library: str, name: str, spec: str, pretrained: bool
) -> tuple[Callable[..., Any], dict[str, Any], dict[str, str]]:
    """How to build the model `name` of `library`: (function, keyword arguments, its names of our options).

    Raises ConfigError if the library is unknown or not installed, or does not know the model.
    """
    if library == "torchvision":
        models = import_library("torchvision.models", spec)
        check_name(spec, name, [*models.list_models(), *OWN_MODELS])
        build = models.get_model_builder(name)
        if pretrained:
            return with_classes(name, build), {"weights": "DEFAULT"}, {"num_classes": "num_classes"}
        return build, {"weights": None}, {"num_classes": "num_classes"}
    if library == "timm":
        timm = import_library("timm", spec)
        check_name(spec, name, timm.list_models(), is_known=timm.is_model(name))
        timm_names = {"num_classes": "num_classes", "in_channels": "in_chans"}
        return timm.create_model, {"model_name": name, "pretrained": pretrained}, timm_names
    if library == "pytorchcv":
        provider = import_library("pytorchcv.model_provider", spec)
        check_name(spec, name, torch_private.pytorchcv_models)
        cv_names = {"num_classes": "num_classes", "in_channels": "in_channels"}
        return provider.get_model, {"name": name, "pretrained": pretrained}, cv_names
    raise ConfigError(
        f"model: {spec!r} names the library {library!r}, expected torchvision, timm, pytorchcv or a Python "
        "file as in 'path/to/file.py:make_model'."
    )


def import_library(module: str, spec: str) -> ModuleType:
    """Import an optional dependency; raise ConfigError if it is not installed or cannot be imported."""
    package = module.partition(".")[0]
    if find_spec(package) is None:
        raise ConfigError(f"model: {spec!r} needs the package {package}: `pip install {package}`.")
    declare_operators()  # timm imports torchvision, too
    try:
        with warnings.catch_warnings():
            # timm scripts functions while it is imported, which nobody who names a model of it can change.
            warnings.filterwarnings("ignore", r"`torch\.jit\..*is deprecated", FutureWarning)
            return import_module(module)
    # RuntimeError too: torchvision raises it where its binary does not fit the installed torch.
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"model: {spec!r}: {package} is installed but cannot be imported: {error}. It must be built for "
            "the installed torch: install both from the same index."
        ) from error


def check_name(spec: str, name: str, known: Iterable[str], is_known: bool = False) -> None:
    """Raise ConfigError, with the closest names, if `name` is not in `known`, unless `is_known`."""
    names = list(known)
    if is_known or name in names:
        return
    if Path(spec).exists():
        kind = "folder" if Path(spec).is_dir() else "file"
        raise ConfigError(
            f"model: {spec!r} is a {kind}; expected a config (a .json5 file), or the name of a model."
        )
    close = closest(name, names)
    near = f" (closest: {', '.join(close)})" if close else ""
    no_file = "; there is no such file or folder either" if "/" in spec else ""
    raise ConfigError(
        f"model: {spec!r} is not known{near}{no_file}. A model is one of {', '.join(OWN_MODELS)}, "
        "a torchvision name, 'timm:NAME', 'pytorchcv:NAME' or 'path/to/file.py:make_model'."
    )


def accepted(make: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The `options` that `make` has parameters for; all of them if it takes ``**kwargs``."""
    parameters = inspect.signature(make).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return options
    return {key: value for key, value in options.items() if key in parameters}


def with_weights(make: Callable[..., Any], options: dict[str, Any], spec: str) -> nn.Module:
    """As `call`, for a model that gets trained weights; ConfigError if they cannot be downloaded or read."""
    try:
        return call(make, options, spec)
    except OSError as error:
        raise ConfigError(
            f"pretrained: the weights of {spec!r} cannot be loaded: {error}. They are downloaded once: "
            "connect to the network, copy them into the cache of the library, or leave the key out."
        ) from error


def call(make: Callable[..., Any], options: dict[str, Any], spec: str) -> nn.Module:
    """Call `make` with `options`; raise ConfigError if it fails, or does not return an `nn.Module`."""
    own = split_spec(spec)
    # Of libraries, what they raise for wrong options, which they check with asserts as well.
    expected = (TypeError, ValueError, RuntimeError, AssertionError) if own is None else OF_USERS
    try:
        model = make(**options)
    except FxbinError as error:
        error.add_note(f"raised by model: {spec!r}")
        raise
    except expected as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        reason = str(error) if own is None else described(error, own[0])
        raise ConfigError(f"model: {spec!r} cannot be built with ({given}): {reason}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: {spec!r} gave a {type(model).__name__}, expected a torch.nn.Module.")
    return model
