"""Checks of what the parts that users register return, see `fxbin.binarizers.part_trial`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.binarizers.activation_levels import ActivationLevels
from fxbin.binarizers.estimators import Estimator
from fxbin.binarizers.latent import LatentTransform
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.weight_levels import WeightLevels
from fxbin.errors import TransformError

_ENDS = (0.0, 1.0)
"""The progress of a training at which parts are tried that follow it."""


@dataclass(frozen=True)
class Trial:
    """Calls the methods of one part, and says what is wrong with what they return."""

    part: Any
    """The part."""

    option: str
    """Where the config names it: ``"compression.activations.levels"``."""

    name: str
    """The name under which it is registered."""

    site: str
    """What it is tried for: ``"an input (2, 4, 5, 6)"``."""

    reserved: frozenset[str] = frozenset()
    """Names that a binarizer has for other things than parameters."""

    def call(self, method: str, *args: Any) -> Any:
        """What `method` of the part returns; its errors become a TransformError that names the part."""
        try:
            with torch.random.fork_rng(devices=[]):
                return getattr(self.part, method)(*args)
        except TransformError as error:
            error.add_note(f"in {self.option} {self.name!r}, {self._method(method)}, tried with {self.site}")
            raise
        except Exception as error:
            raise TransformError(
                f"{self._where(method)} failed for {self.site}: {type(error).__name__}: {error}. "
                f"Correct the class; fxbin.{self._base} says what its methods get and return"
            ) from error

    def refuse(self, method: str, found: str, expected: str) -> TransformError:
        """The error for a `method` that returned what `found` describes, and not what `expected` does."""
        return TransformError(
            f"{self._where(method)} returned {found} for {self.site}: expected {expected}. "
            f"Correct the class; fxbin.{self._base} says what its methods return"
        )

    def tensor(self, method: str, found: Any, what: str, shapes: Sequence[tuple[int, ...]]) -> Tensor:
        """`found`, unless it is not a finite floating-point tensor that has one of `shapes`."""
        shape = f"of the shape {' or '.join(map(str, dict.fromkeys(shapes)))}"
        if not isinstance(found, Tensor):
            raise self.refuse(method, f"{_described(found)} as {what}", f"a tensor {shape}")
        if tuple(found.shape) not in shapes:
            raise self.refuse(method, f"{what} of the shape {tuple(found.shape)}", f"{what} {shape}")
        if not found.is_floating_point():
            raise self.refuse(method, f"{what} of {found.dtype}", f"{what} of a floating-point dtype")
        if not found.isfinite().all():
            bad = found[~found.isfinite()][0].item()
            raise self.refuse(method, f"{what} with the value {bad}", f"{what} of finite values")
        return found

    def parameters(self, given: Any) -> dict[str, Tensor]:
        """What `parameters` of rules for levels returns for `given`."""
        found = self.call("parameters", given)
        if not isinstance(found, Mapping):
            raise self.refuse("parameters", _described(found), "a dict of tensors by name, empty if none")
        for name, value in found.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise self.refuse("parameters", f"the name {name!r}", "names as Python has them")
            if name in self.reserved:
                raise self.refuse("parameters", f"the name {name!r}", "names that binarizers do not have yet")
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            self.tensor("parameters", value, f"the value of {name!r}", [shape])
        return dict(found)

    def _where(self, method: str) -> str:
        return f"{self.option} {self.name!r}: {self._method(method)}"

    def _method(self, method: str) -> str:
        return f"{type(self.part).__name__}.{method}"

    @property
    def _base(self) -> str:
        kinds = (ActivationLevels, WeightLevels, LatentTransform, Estimator)
        return next(kind.__name__ for kind in kinds if isinstance(self.part, kind))


def is_own(part: object) -> bool:
    """Whether a user has defined the class of `part`."""
    return not type(part).__module__.startswith("fxbin.")


def check_estimator(trial: Trial, u: Tensor) -> None:
    """Raise TransformError unless the estimator of `trial` gives a derivative at each value of `u`."""
    estimator: Estimator = trial.part
    for progress in _progress(estimator.follows_progress):
        found = trial.call("derivative", u, progress)
        if isinstance(found, Tensor) and found.dtype == torch.bool:
            found = found.to(u.dtype)
        found = trial.tensor("derivative", found, "a derivative", [tuple(u.shape)])
        if found.dtype != u.dtype:
            raise trial.refuse(
                "derivative",
                f"a derivative of {found.dtype}",
                f"{u.dtype}, the dtype of its argument u, or bool",
            )


def check_activation_levels(trial: Trial, x: Tensor) -> None:
    """Raise TransformError unless the rule of `trial` declares levels, also after it started from `x`."""
    channels = x.shape[-3]
    parameters = trial.parameters(channels)
    _check_levels(trial, trial.call("of", parameters), channels)
    # The statistics of this process alone: not every one has to come here.
    started = trial.call("start", x, "", True)
    if not isinstance(started, Mapping):
        raise trial.refuse("start", _described(started), "a dict of tensors by the names of parameters")
    for name, value in started.items():
        if name not in parameters:
            known = ", ".join(map(repr, parameters)) or "none"
            raise trial.refuse("start", f"a value for {name!r}", f"names of its parameters ({known})")
        shape = tuple(parameters[name].shape)
        shapes = [shape]
        if isinstance(value, Tensor) and _broadcasts(value, shape):
            shapes.append(tuple(value.shape))
        trial.tensor("start", value, f"a value for {name!r}", shapes)
    new = {name: value.to(parameters[name]).expand_as(parameters[name]) for name, value in started.items()}
    levels = _check_levels(trial, trial.call("of", parameters | new), channels)
    if not (levels.low < levels.high).all():
        found = f"the levels low = {levels.low.item():g} and high = {levels.high.item():g} after `start`"
        raise trial.refuse("of", found, "low to be the smaller one")


def _check_levels(trial: Trial, found: Any, channels: int) -> Levels:
    if not isinstance(found, Levels):
        raise trial.refuse("of", _described(found), "fxbin's Levels(threshold, low, high)")
    trial.tensor("of", found.threshold, "a threshold", [(1, channels, 1, 1), (1, 1, 1, 1)])
    for name in ("low", "high"):
        trial.tensor("of", getattr(found, name), f"a level `{name}`", [(1,)])
    return found


def check_latent(trial: Trial, w: Tensor) -> None:
    """Raise TransformError unless the sign of the transformed `w` changes at the threshold that is declared.

    Exports and the engine compare w with the threshold, and PyTorch takes the sign of the transformed weight.
    """
    transform: LatentTransform = trial.part
    for progress in _progress(transform.follows_progress):
        v = transformed(trial, w, progress)
        shapes = [(len(w), 1, 1, 1), (1, 1, 1, 1)]
        threshold = trial.tensor("threshold", trial.call("threshold", w), "a threshold", shapes)
        # What is rounded differently near the threshold is no contradiction.
        is_clear = (w - threshold).abs() > 1e-4 * w.abs().max()
        wrong = ((v > 0) != (w > threshold)) & is_clear
        if wrong.any():
            index = tuple(wrong.nonzero()[0].tolist())
            raise trial.refuse(
                "apply",
                f"{v[index].item():g} for the weight {w[index].item():g}, where `threshold` returned "
                f"{threshold.expand_as(w)[index].item():g} ({int(wrong.sum())} of {wrong.numel()} are so)",
                "values above 0 exactly where the weight is above `threshold`, as exports compare with that",
            )


def transformed(trial: Trial, w: Tensor, progress: Tensor | None) -> Tensor:
    """What the transformation of `trial` makes of `w`, if it fits."""
    found = trial.call("apply", w.detach().requires_grad_(), progress)
    v = trial.tensor("apply", found, "a weight", [tuple(w.shape)])
    if v.dtype != w.dtype:
        raise trial.refuse("apply", f"a weight of {v.dtype}", f"{w.dtype}, as that of its argument w")
    if not v.requires_grad:
        raise trial.refuse("apply", "a weight without a gradient", "one through which gradients reach w")
    return v.detach()


def check_weight_levels(trial: Trial, w: Tensor, v: Tensor) -> None:
    """Raise TransformError unless the rule of `trial` gives center and scale of `w`, transformed to `v`."""
    rule: WeightLevels = trial.part
    parameters = trial.parameters(torch.empty(w.shape, device="meta"))
    found = trial.call("of", w, v, parameters)
    if not isinstance(found, tuple) or len(found) != 2:
        raise trial.refuse("of", _described(found), "the tuple (center, scale), with None for a center of 0")
    center, scale = found
    for value, what in ((center, "a center"), (scale, "a scale")):
        if value is None and what == "a center":
            continue
        if isinstance(value, Tensor) and not _is_factor(value, w):
            raise trial.refuse(
                "of",
                f"{what} of the shape {tuple(value.shape)}",
                f"four axes that are each 1 or the weight's, such as ({len(w)}, 1, 1, 1); keepdim=True keeps "
                "axes that are averaged over",
            )
        shape = tuple(value.shape) if isinstance(value, Tensor) else (len(w), 1, 1, 1)
        trial.tensor("of", value, what, [shape])
    if not (scale >= 0).all():
        raise trial.refuse("of", f"a scale of {scale.min().item():g}", "a scale of 0 or more")
    if rule.is_by_filter and (center is not None or (scale.dim() == 4 and scale.shape[1:].numel() > 1)):
        shown = "a center" if center is not None else f"a scale of the shape {tuple(scale.shape)}"
        raise trial.refuse("of", shown, f"none but one scale for each filter, as {rule.is_by_filter=} says")


def _progress(follows: bool) -> list[Tensor | None]:
    return [torch.tensor(end) for end in _ENDS] if follows else [None]


def _is_factor(value: Tensor, w: Tensor) -> bool:
    """Whether `value` is one number, or has four axes that are each 1 or that of `w`."""
    if value.dim() == 0:
        return True
    return value.dim() == 4 and all(a in (1, b) for a, b in zip(value.shape, w.shape, strict=True))


def _broadcasts(value: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether `value` can be copied to a tensor of `shape`."""
    try:
        value.expand(shape)
    except RuntimeError:
        return False
    return True


def _described(found: Any) -> str:
    if isinstance(found, Tensor):
        return f"a tensor of the shape {tuple(found.shape)} and {found.dtype}"
    return (
        repr(found) if found is None or isinstance(found, int | float | str) else f"a {type(found).__name__}"
    )
