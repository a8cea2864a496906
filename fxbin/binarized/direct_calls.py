"""Lets methods that call `F.conv2d` use binarizers if they are called directly, not by a forward."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.binarized.convolving_methods import DIRECT_CALLS, derived_class
from fxbin.binarized.own_code import (
    ConvCaller,
    OwnCode,
    SiteBinarizers,
    binarizing_counted,
    check_has_no_site,
)
from fxbin.binarized.running import plainly, running
from fxbin.binarizers import Binarizer
from fxbin.errors import TransformError


class DirectCalls:
    """The call sites that methods and properties of one module may mean when they are called directly.

    Outside of the model's forward, a call of `F.conv2d` belongs to the call site with the same weight. One
    with a parameter that has no call site is in full precision, as in calls that the transform has not seen.
    """

    def __init__(self, module: nn.Module, own_code: OwnCode, *, has_class: bool) -> None:
        held = set(module.modules())
        self._kind: Any = type(module)
        self._module, self._has_class = module, has_class
        self._calls = own_code.calls
        self._callers = tuple(
            caller
            for caller in own_code.callers.values()
            if caller.module is module or any(site.kernel.may_be_in(held) for site in caller.sites)
        )

    @property
    def has_sites(self) -> bool:
        """Whether there are such call sites."""
        return bool(self._callers)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function`, a method of the module, with binarizers for its calls of `F.conv2d`."""
        if running() is not None:
            return function(*args, **kwargs)  # a part of that code, as in the trace
        with binarizing_counted(self, self._calls):
            return function(*args, **kwargs)

    def convolve(
        self,
        input: Tensor,  # noqa: A002 (the name that F.conv2d has for it)
        weight: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """``F.conv2d(input, weight, ...)`` with the binarizers of the call site with this weight."""
        site = self._site(weight)
        if site is not None:
            return site.convolve(input, weight, *args, **kwargs)
        with plainly():
            return F.conv2d(input, weight, *args, **kwargs)

    def check_has_no_site(self, weight: Tensor) -> None:
        """Raise TransformError if a call site has `weight`, with which an autograd function convolves."""
        check_has_no_site((site for _, site in self._sites()), weight)

    def _site(self, weight: Tensor) -> SiteBinarizers | None:
        """The call site that has `weight`; None if none has.

        Raises:
            TransformError: there are several, or `weight` is computed and may be that of one.
        """
        found = [(caller, site) for caller, site in self._sites() if site.kernel.is_now(weight)]
        if not found and not isinstance(weight, nn.Parameter):
            alike = [(c, site) for c, site in self._sites() if site.kernel.shape == tuple(weight.shape)]
            found = [(caller, site) for caller, site in alike if site.kernel.is_computed]
            if alike and not found:
                raise TransformError(_unknown(weight, [site.name for _, site in alike]))
        if not found:
            return None
        (caller, site), *others = found
        if all((site.activation, site.weight) == (other.activation, other.weight) for _, other in others):
            return site
        if all(other is caller for other, _ in others):
            return caller.next_site()
        raise TransformError(_unknown(weight, [site.name for _, site in found]))

    def install(self) -> None:
        """Let the methods of the module use this object."""
        vars(self._module)[DIRECT_CALLS] = self
        if not self._has_class:
            self._give_class(self._kind, derived_class(self._kind))

    def uninstall(self) -> None:
        """Restore the module's own methods."""
        vars(self._module).pop(DIRECT_CALLS, None)
        if not self._has_class:
            self._give_class(derived_class(self._kind), self._kind)

    def _give_class(self, before: type, after: type) -> None:
        if type(self._module) is before:  # and not one that a user has given it
            object.__setattr__(self._module, "__class__", after)

    def _sites(self) -> Iterator[tuple[ConvCaller, SiteBinarizers]]:
        return ((caller, site) for caller in self._callers for site in caller.sites)


def _unknown(weight: Tensor, names: Iterable[str]) -> str:
    return (
        "F.conv2d: a method that was called outside of the model's forward convolves with a weight of shape "
        f"{tuple(weight.shape)} that may be that of {', '.join(map(repr, names))}, and fxbin cannot know "
        "which binarizers are meant, if any. Call the model, or the module"
    )


def direct_calls(model: nn.Module, own_code: OwnCode) -> list[DirectCalls]:
    """For each module of `model` that has methods with convolutions, the call sites that these may mean.

    `model` itself has a class with such methods already; others get one that is derived from their own.
    """
    # What binarizers compute is never a call site.
    inside = {
        part for module in model.modules() if isinstance(module, Binarizer) for part in module.modules()
    }
    found = [DirectCalls(model, own_code, has_class=True)]
    for module in model.modules():
        kind: Any = type(module)
        if module is not model and module not in inside and derived_class(kind) is not None:
            found.append(DirectCalls(module, own_code, has_class=False))
    return [direct for direct in found if direct.has_sites]
