"""Does a user's factory make what its mode needs?"""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from fxbin.binarizers.weight import WeightBinarizer
from fxbin.errors import TransformError

B = TypeVar("B", bound=nn.Module)


def definition(factory: Any) -> tuple[str, str]:
    """Where `factory` is written, as far as it can tell: the same for a cell that is run again."""
    while isinstance(factory, partial):
        factory = factory.func
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return named.__module__, named.__qualname__


def why_not_callable(factory: Callable[..., Any]) -> str | None:
    """Why `factory` cannot be called with two arguments; None if it can, or does not tell."""
    try:
        inspect.signature(factory).bind(object(), object())
    except TypeError as error:
        return str(error)
    except ValueError:  # compiled code has no signature
        return None
    return None


def checked(binarizer: Any, kind: type[B], mode: str, what: str) -> B:
    """`binarizer`, which must be a new one of class `kind`."""
    if not isinstance(binarizer, kind):
        shown = "the class itself, not one of it" if isinstance(binarizer, type) else type(binarizer).__name__
        raise TransformError(
            f"mode: {mode!r}: its factory for the {what} must give a {kind.__name__}, got "
            f"{'None: it lacks a return' if binarizer is None else shown}"
        )
    # Named once it has a place in a model.
    if getattr(binarizer, "name", ""):
        raise TransformError(
            f"mode: {mode!r}: its factory for the {what} gave the binarizer of {binarizer.name} again: it "
            "must make a new one at each call"
        )
    return binarizer


def try_out(binarizer: WeightBinarizer, shape: tuple[int, ...], mode: str) -> None:
    """Raise TransformError if a weight of `shape` does not become another one; `binarizer` stays as it is."""
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
            f"mode: {mode!r}: {type(binarizer).__name__}.binarize made {tuple(binarized.shape)} of a weight "
            f"{shape}"
        )
