"""Runs a model's own code with binarized convolutions, where it cannot be traced or no graph is valid."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarized.checkpointing import resume_in_checkpoints
from fxbin.binarized.running import Calls, Convolves, binarizing, plainly
from fxbin.binarizers import Binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.errors import TransformError
from fxbin.graph.attribute import submodule_at
from fxbin.onlookers import is_followed
from fxbin.original.closures import rebound
from fxbin.original.plain_conv2d import is_plain_conv2d


@dataclass(frozen=True)
class Kernel:
    """The weight of a call site."""

    owners: tuple[nn.Module, ...] = ()
    """The module that has it, or, if it is computed, those that have what it is computed from."""

    name: str = ""
    """Its name in the module; empty if it is computed."""

    shape: tuple[int, ...] = ()
    """Its shape."""

    @property
    def is_computed(self) -> bool:
        """Whether it is computed anew in each call, as it also is after `parametrize`."""
        return self._value is None

    @property
    def is_missing(self) -> bool:
        """Whether its module no longer has it."""
        # `parametrize` puts a property on the class, which computes the weight each time.
        has_property = bool(self.name) and hasattr(type(self.owners[0]), self.name)
        return bool(self.name) and not has_property and not hasattr(self.owners[0], self.name)

    def is_now(self, weight: Tensor) -> bool:
        """Whether it is `weight` now, or shares all memory with it, as ``weight.detach()`` does."""
        value = self._value
        if value is None or value is weight:
            return value is weight
        has_memory = not (is_followed() or value.is_meta) and value.device == weight.device
        return has_memory and value.is_set_to(weight)

    def may_be(self, weight: Tensor) -> bool:
        """Whether it is `weight`, or is computed and has its shape."""
        return self.shape == tuple(weight.shape) if self.is_computed else self.is_now(weight)

    def may_be_in(self, modules: Collection[nn.Module]) -> bool:
        """Whether one of `modules` has it, or something that it is computed from."""
        return any(owner in modules for owner in self.owners)

    @property
    def _value(self) -> Tensor | None:
        # `parametrize` puts a property on the class, which computes another tensor each time.
        if not self.name or hasattr(type(self.owners[0]), self.name):
            return None
        return getattr(self.owners[0], self.name, None)


@dataclass(frozen=True)
class SiteBinarizers:
    """The binarizers of one call site; both None if it stays in full precision."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    activation: Binarizer | None
    """Binarizer of the input."""

    weight: Binarizer | None
    """Binarizer of the weight."""

    places: tuple[str, str] = ("", "")
    """Qualified names of both."""

    kernel: Kernel = Kernel()
    """The weight that is convolved with."""

    rewrites: tuple[str, ...] = ()
    """Names of the rewrites that have changed the network around it, in the graphs only."""

    def check_is_as_in_graphs(self) -> None:
        """Raise TransformError if a rewrite has changed the graphs here, which other code does not do."""
        if self.rewrites:
            raise TransformError(
                f"{self.name}: code runs it outside of the model's graphs, without what compression.rewrites "
                f"has changed around it there ({', '.join(self.rewrites)}). Call the model itself, with the "
                "arguments of the transform; a hook or a change to its modules has to be made before the "
                "transform. Or transform the model without these rewrites"
            )

    def convolve(self, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``F.conv2d(x, weight, ...)`` with these binarizers.

        Raises:
            TransformError: a rewrite has changed the network around it.
        """
        self.check_is_as_in_graphs()
        with plainly():
            if self.activation is None or self.weight is None:
                return F.conv2d(x, weight, *args, **kwargs)
            return binarized_conv2d(self.activation, self.weight, x, weight, *args, **kwargs)


@contextmanager
def counted(calls: Calls) -> Iterator[None]:
    """Count the calls in one forward.

    Raises:
        TransformError: a module was called more or less often than when the model was traced.
    """
    with calls.counted() as counts:
        yield
    for caller, count in counts.values():
        if count not in caller.counts:
            raise TransformError(_message(caller, f"it was called {count} times"))


@contextmanager
def binarizing_counted(code: Convolves, calls: Calls) -> Iterator[None]:
    """Let `code` compute calls of `F.conv2d`; where no forward of its model is running, it counts as one."""
    with counted(calls) if calls.counts is None else nullcontext(), binarizing(code):
        yield


def check_has_no_site(sites: Iterable[SiteBinarizers], weight: Tensor) -> None:
    """Raise TransformError if one of `sites` has `weight`, with which an autograd function convolves."""
    for site in sorted(sites, key=lambda site: site.kernel.is_computed):  # those that are sure come first
        if site.activation is not None and site.kernel.may_be(weight):
            raise TransformError(
                f"F.conv2d: a torch.autograd.Function convolves with the weight of {site.name!r}, which has "
                "binarizers. If the function is gradient checkpointing, use torch.utils.checkpoint, which "
                "may be switched on at any time; or transform the model with the function, which then stays "
                "in full precision"
            )


def _message(caller: "ConvCaller", what: str) -> str:
    names = ", ".join(repr(site.name) for site in caller.sites)
    return (
        f"{caller.path or 'the model'}: {what}, but it has a separate call site, with separate levels, for "
        f"each of {len(caller.sites)} calls in the forward that was transformed ({names}), and fxbin cannot "
        "know which is meant. Call the model, or use a separate module for each call before the transform"
    )


class OwnCode:
    """The modules of a model that call conv2d, which find their binarizers when their own code runs."""

    def __init__(self) -> None:
        self.callers: dict[str, ConvCaller] = {}
        """The modules with call sites by qualified name; that of the model itself is empty."""
        self.calls = Calls()
        """Counts the calls of all of these modules."""

    def add(self, model: Any, path: str, sites: Iterable[SiteBinarizers], counts: Collection[int]) -> None:
        """Let calls of the module at `path` use the binarizers `sites`, in the order of execution.

        `counts` has the numbers of call sites that the example calls run.
        """
        resume_in_checkpoints()
        module, part = model.get_submodule(path), model.traced_parts.get(path)
        own = vars(module).get("forward") if part is None else part.own
        caller = self.callers[path] = ConvCaller(path, module, own, sites, counts, self.calls)
        # The model itself and its traced parts have replaced forwards already, which run graphs.
        if path and part is None:
            caller.install()

    @property
    def installed(self) -> list["ConvCaller"]:
        """The callers that replace the forward of their module at present."""
        return [caller for caller in self.callers.values() if caller.is_installed]

    def around(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `run`, code of the model or of a part of it, as one forward in which calls are counted."""
        root = self.callers.get("")
        if root is None and all(len(caller.sites) == 1 for caller in self.callers.values()):
            return run  # nothing to count

        def counting(*args: Any, **kwargs: Any) -> Any:
            with counted(self.calls):
                return run(*args, **kwargs) if root is None else root.run(run, *args, **kwargs)

        return counting

    def check_places(self, model: nn.Module, function: str) -> None:
        """Raise TransformError, with the name of `function`, if a binarized layer has moved in the model."""
        self.check(model)
        for path, caller in self.callers.items():
            now = submodule_at(model, path)
            if caller.is_binarized and now is not caller.module:
                raise TransformError(
                    f"fxbin.{function}: {path} is binarized, and {type(now).__name__} was put "
                    "around it after the transform. The model runs like that, but no graph contains it: put "
                    "it there before the transform, and transform the result"
                )

    def check(self, model: nn.Module) -> None:
        """Raise TransformError if a binarized layer is no longer in `model`."""
        held = None
        for path, caller in self.callers.items():
            caller.follow_assigned()
            if submodule_at(model, path) is caller.module:
                caller.check_kernels()
                caller.find_binarizers(model)
                continue
            if not caller.is_binarized:
                continue
            held = set(model.modules()) if held is None else held
            if caller.module not in held:
                now = submodule_at(model, path)
                what = "removed" if now is None else f"replaced by {type(now).__name__}"
                raise TransformError(
                    f"{path}: it is binarized, and was {what} after the transform. Replace it before the "
                    "transform, and transform the result; or keep it in full precision, with "
                    f"{caller.sites[0].name!r} in ignored_scopes, and replace it at any time"
                )


class ConvCaller:
    """Replaces the `forward` of a module that calls conv2d, so that its own code uses binarizers.

    `own` is the `forward` that was assigned to the module itself, None if it has only that of its class.
    """

    def __init__(
        self,
        path: str,
        module: nn.Module,
        own: Any,
        sites: Iterable[SiteBinarizers],
        counts: Collection[int],
        calls: Calls,
    ) -> None:
        self.path, self.module, self.sites, self.counts = path, module, tuple(sites), frozenset(counts)
        self.is_installed = False
        self._calls = calls
        self._own = own
        self._assigned: Any = None
        self._is_bypassed = False
        # Bound once, as Dynamo cannot bind them.
        is_plain = own is None and is_plain_conv2d(module)
        self._own_forward = MethodType(ConvCaller._convolve_layer if is_plain else ConvCaller._run_own, self)
        self._assigned_forward = MethodType(ConvCaller._run_assigned, self)

    @property
    def forward(self) -> Callable[..., Any]:
        """The forward of the module, with binarizers."""
        return self._own_forward if self._assigned is None else self._assigned_forward

    def follow_assigned(self) -> None:
        """Run with binarizers what has been assigned as ``module.forward`` since, until it is deleted."""
        now = vars(self.module).get("forward")
        # Dynamo of torch 2.9 does not see into a method that is in a dict; there, one stays the same.
        is_hidden = type(now) is MethodType and not hasattr(now, "__self__")
        if self.is_installed and not is_hidden and getattr(now, "__self__", None) is not self:
            self._assigned = now
            self.install()

    def check_kernels(self) -> None:
        """Raise TransformError if the module no longer has the weight of a binarized call site."""
        for site in self.sites:
            if site.weight is not None and site.kernel.is_missing:
                raise TransformError(
                    f"{self.path}: its {site.kernel.name} was removed after the transform, and a binarized "
                    "convolution needs it: put it back, or keep the layer in full precision, with "
                    f"{site.name!r} in ignored_scopes"
                )

    def find_binarizers(self, model: nn.Module) -> None:
        """Use the binarizers that are at the places of the call sites now, as the graphs do.

        Raises:
            TransformError: something else is there, or nothing.
        """
        found = tuple(self._as_now(site, model) for site in self.sites)
        # Not written without need: torch.export warns of each attribute that is.
        if not all(now is before for now, before in zip(found, self.sites, strict=True)):
            self.sites = found

    def _as_now(self, site: SiteBinarizers, model: nn.Module) -> SiteBinarizers:
        if site.activation is None:
            return site
        found = []
        for place in site.places:
            binarizer = submodule_at(model, place)
            if not isinstance(binarizer, Binarizer):
                raise TransformError(
                    f"{place}: the binarizer was removed, or replaced by something else, after the "
                    "transform. To keep the layer in full precision, switch it off: "
                    f"model.binarization.enable(activations=False, weights=False, sites=[{site.name!r}]), or "
                    "put it into ignored_scopes"
                )
            found.append(binarizer)
        if found == [site.activation, site.weight]:
            return site
        return replace(site, activation=found[0], weight=found[1])

    @property
    def is_binarized(self) -> bool:
        """Whether any of its call sites is binarized."""
        return any(site.activation is not None for site in self.sites)

    def uninstall(self) -> None:
        """Restore the module's own forward, or that which has been assigned since."""
        self.follow_assigned()
        self.is_installed, self._is_bypassed = False, True
        vars(self.module).pop("forward", None)
        own = self._own if self._assigned is None else self._assigned
        if own is not None:
            vars(self.module)["forward"] = own

    def install(self) -> None:
        """Replace the module's forward."""
        self.is_installed, self._is_bypassed = True, False
        vars(self.module)["forward"] = self.forward

    def rebind(self, copies: dict[int, Any]) -> None:
        """Let forwards that were assigned to the module refer to `copies`, by id of what was copied."""
        self._own, self._assigned = rebound(self._own, copies), rebound(self._assigned, copies)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function`, code of the module that calls `F.conv2d`, with binarizers."""
        for site in self.sites:
            site.check_is_as_in_graphs()
        with binarizing_counted(self, self._calls):
            return function(*args, **kwargs)

    def convolve(
        self,
        input: Tensor,  # noqa: A002 (the name that F.conv2d has for it)
        weight: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """``F.conv2d(input, weight, ...)`` with the binarizers of its call site."""
        return self.next_site().convolve(input, weight, *args, **kwargs)

    def check_has_no_site(self, weight: Tensor) -> None:
        """Raise TransformError if a call site has `weight`, with which an autograd function convolves."""
        check_has_no_site(self.sites, weight)

    def next_site(self) -> SiteBinarizers:
        """The binarizers of the call site at which the module is now.

        Raises:
            TransformError: the call site cannot be determined.
        """
        if len(self.sites) == 1:
            return self.sites[0]
        counts = self._calls.counts
        if counts is None:
            where = "outside of the model's forward"
            if not torch.compiler.is_compiling() and torch_private.graph_task_id() != -1:
                where = f"in a backward, {where}, which checkpointing by torch.utils.checkpoint does not do"
            raise TransformError(_message(self, f"it was called {where}"))
        _, position = counts.get(self.path, (self, 0))
        if position == len(self.sites):
            raise TransformError(_message(self, "it was called once more"))
        counts[self.path] = self, position + 1
        return self.sites[position]

    def _run_assigned(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self._assigned, *args, **kwargs)

    def _run_own(self, *args: Any, **kwargs: Any) -> Any:
        own, args = (
            (type(self.module).forward, (self.module, *args)) if self._own is None else (self._own, args)
        )
        # What has been assigned since may call this while it is traced without binarizers.
        return own(*args, **kwargs) if self._is_bypassed else self.run(own, *args, **kwargs)

    def _convolve_layer(self, input: Tensor) -> Tensor:  # noqa: A002
        layer = self.module
        if self._is_bypassed or not is_plain_conv2d(layer):  # it has been given another class or method
            y: Tensor = self._run_own(input)
            return y
        assert isinstance(layer, nn.Conv2d)
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
        if layer.padding_mode == "zeros":
            return self.convolve(input, layer.weight, layer.bias, *settings)
        site = self.next_site()
        site.check_is_as_in_graphs()
        if site.activation is None or site.weight is None:
            return nn.Conv2d.forward(layer, input)
        with plainly():
            # Binarized before padding, because the graphs pad the binarized input.
            x = F.pad(site.activation(input), torch_private.padding_amounts(layer), layer.padding_mode)
            return conv2d(x, site.weight(layer.weight), layer.bias, layer.stride, 0, *settings[2:])
