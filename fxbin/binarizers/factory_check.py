"""Checks of the factories that users register, and of the binarizers these make."""

import copy
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from fxbin.binarizers.weight import WeightBinarizer
from fxbin.errors import ConfigError, TransformError

B = TypeVar("B", bound=nn.Module)


def definition(factory: Any) -> tuple[str, str]:
    """Where `factory` is defined, and its qualified name: the same if a notebook cell or a file runs again.

    The file counts, and not the name of the module, which differs if a file is imported for a config and by
    the user's own code. A notebook has no file, so its module counts.
    """
    while isinstance(factory, partial):
        factory = factory.func
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    file = getattr(sys.modules.get(named.__module__), "__file__", None)
    return str(Path(file).resolve()) if file else named.__module__, named.__qualname__


def check_name(what: str, name: object) -> None:
    """Raise ConfigError unless `name`, of `what`, is a text that a config can have."""
    if not isinstance(name, str) or not name or name != name.strip():
        raise ConfigError(
            f"{what}: {name!r} is no name that a config can have: expected text without spaces around it, "
            'such as "mine"'
        )


def why_not_callable(factory: Callable[..., Any]) -> str | None:
    """Why `factory` cannot be called with two arguments; None if it can, or has no signature."""
    try:
        inspect.signature(factory).bind(object(), object())
    except TypeError as error:
        return str(error)
    except ValueError:  # compiled code has no signature
        return None
    return None


def checked(binarizer: Any, kind: type[B], mode: str, what: str) -> B:
    """Return `binarizer`; raise TransformError unless it is a new instance of `kind`."""
    if not isinstance(binarizer, kind):
        shown = (
            "the class itself, not an instance" if isinstance(binarizer, type) else type(binarizer).__name__
        )
        raise TransformError(
            f"mode: {mode!r}: its factory for the {what} must return an instance of {kind.__name__}, got "
            f"{'None: it lacks a return' if binarizer is None else shown}"
        )
    # A binarizer gets its name with its place in a model.
    if getattr(binarizer, "name", ""):
        raise TransformError(
            f"mode: {mode!r}: its factory for the {what} returned the binarizer of {binarizer.name} again: "
            "it must make a new one at each call"
        )
    return binarizer


def try_out(binarizer: WeightBinarizer, shape: tuple[int, ...], mode: str) -> None:
    """Raise TransformError if a copy of `binarizer` fails on a weight of `shape`, or changes its shape."""
    weight = torch.linspace(-1, 1, torch.Size(shape).numel()).view(shape)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            binarized = copy.deepcopy(binarizer).binarize(weight)
    except TransformError as error:
        error.add_note(f"in the weight binarizer of mode {mode!r}")
        raise
    except Exception as error:
        raise TransformError(
            f"mode: {mode!r}: {type(binarizer).__name__}.binarize failed for a weight {shape}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if binarized.shape != weight.shape:
        raise TransformError(
            f"mode: {mode!r}: {type(binarizer).__name__}.binarize returned the shape "
            f"{tuple(binarized.shape)} for a weight {shape}"
        )
