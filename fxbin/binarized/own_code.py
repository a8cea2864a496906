"""Runs a model's own code with binarized convolutions, where it cannot be traced or no graph is valid."""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import CodeType, MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fxbin import torch_private
from fxbin.binarizers import Binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.errors import TransformError
from fxbin.graph.attribute import submodule_at


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


class Calls:
    """The modules with call sites that are running, and how often each was called in the current forward.

    Counting calls tells which call site a call belongs to. A module that is called outside of the model's
    forward must have only one call site.
    """

    def __init__(self) -> None:
        self._counts: list[Counter[ConvCaller]] = []
        self._running: list[ConvCaller | None] = []

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the calls in one forward.

        Raises:
            TransformError: a module was called more or less often than when the model was traced.
        """
        counts: Counter[ConvCaller] = Counter()
        self._counts.append(counts)
        try:
            yield
        finally:
            self._counts.pop()
        for caller, count in counts.items():
            if count not in caller.counts:
                raise TransformError(_message(caller, f"it was called {count} times"))

    @property
    def is_counting(self) -> bool:
        """Whether calls are being counted, that is, a forward of the model is running."""
        return bool(self._counts)

    @property
    def running(self) -> "ConvCaller | None":
        """The innermost running module whose own code calls `F.conv2d`; None if none is running."""
        return self._running[-1] if self._running else None

    @contextmanager
    def inside(self, caller: "ConvCaller | None") -> Iterator[None]:
        """Let `running` be `caller` while its code runs; None while calls of `F.conv2d` have no module."""
        self._running.append(caller)
        try:
            yield
        finally:
            self._running.pop()

    def next_site(self, caller: "ConvCaller") -> SiteBinarizers:
        """The binarizers of the call site at which `caller` is now.

        Raises:
            TransformError: the call site cannot be determined.
        """
        if len(caller.sites) == 1:
            return caller.sites[0]
        if not self._counts:
            raise TransformError(_message(caller, "it was called outside of the model's forward"))
        position = self._counts[-1][caller]
        if position == len(caller.sites):
            raise TransformError(_message(caller, "it was called once more"))
        self._counts[-1][caller] += 1
        return caller.sites[position]


def _message(caller: "ConvCaller", what: str) -> str:
    names = ", ".join(repr(site.name) for site in caller.sites)
    return (
        f"{caller.path or 'the model'}: {what}, and it has a call site, with levels of its own, for each of "
        f"{len(caller.sites)} calls in the forward that was transformed ({names}): which are meant cannot be "
        "known. Call the model, or give each call a module of its own before the transform"
    )


class OwnCode:
    """The modules of a model that call conv2d, which find their binarizers when their own code runs."""

    def __init__(self) -> None:
        self.callers: dict[str, ConvCaller] = {}
        """The modules with call sites by qualified name; that of the model itself is empty."""
        self.is_traced = False
        """Whether the model is being traced, during which there are no binarizers."""
        self.calls = Calls()
        """Counts the calls of all of these modules."""

    def add(self, model: Any, path: str, sites: Iterable[SiteBinarizers], counts: Collection[int]) -> None:
        """Let calls of the module at `path` use the binarizers `sites`, in the order of execution.

        `counts` has the numbers of call sites that the example calls run.
        """
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

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.calls.counted():
                return run(*args, **kwargs) if root is None else root.run(run, *args, **kwargs)

        return counted

    def check_places(self, model: nn.Module, function: str) -> None:
        """Raise TransformError, with the name of `function`, if a binarized layer has moved in the model."""
        self.check(model)
        for path, caller in self.callers.items():
            now = submodule_at(model, path)
            if caller.is_binarized and now is not caller.module:
                raise TransformError(
                    f"fxbin.{function}: {path} is binarized, and {type(now).__name__} was put "
                    "around it after the transform. The model runs like that, but no graph knows of it: put "
                    "it there before, and transform the result"
                )

    def check(self, model: nn.Module) -> None:
        """Raise TransformError if a binarized layer is no longer in `model`."""
        held = None
        for path, caller in self.callers.items():
            if caller.is_installed and "forward" not in vars(caller.module):
                caller.install()  # another forward was put on the module and taken off again
            if submodule_at(model, path) is caller.module:
                caller.find_binarizers(model)
                continue
            if not caller.is_binarized:
                continue
            held = set(model.modules()) if held is None else held
            if caller.module not in held:
                now = submodule_at(model, path)
                what = "removed" if now is None else f"replaced by {type(now).__name__}"
                raise TransformError(
                    f"{path}: it is binarized, and was {what} after the transform. Replace it before, and "
                    f"transform the result; or keep it in full precision, with {caller.sites[0].name!r} in "
                    "ignored_scopes, and replace it whenever you like"
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
        self._own, self._kind = own, type(module)
        is_plain = own is None and is_plain_conv2d(module)
        self._run = ConvCaller._convolve_layer if is_plain else ConvCaller._run_own

    @property
    def forward(self) -> Callable[..., Any]:
        """The forward of the module, with binarizers."""
        return MethodType(self._run, self)

    def find_binarizers(self, model: nn.Module) -> None:
        """Use the binarizers that are at the places of the call sites now, as the graphs do.

        Raises:
            TransformError: something else is there, or nothing.
        """
        self.sites = tuple(self._as_now(site, model) for site in self.sites)

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
        """Restore the module's own forward."""
        self.is_installed = False
        vars(self.module).pop("forward", None)
        if self._own is not None:
            vars(self.module)["forward"] = self._own

    def install(self) -> None:
        """Replace the module's forward."""
        self.is_installed = True
        vars(self.module)["forward"] = self.forward

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function`, code of the module that calls `F.conv2d`, with binarizers."""
        alone = nullcontext() if self._calls.is_counting else self._calls.counted()
        with alone, self._calls.inside(self), _Convolutions(self, self._calls):
            return function(*args, **kwargs)

    def convolve(
        self,
        input: Tensor,  # noqa: A002 (the name that F.conv2d has for it)
        weight: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """``F.conv2d(input, weight, ...)`` with the binarizers of its call site."""
        site = self._calls.next_site(self)
        with self._calls.inside(None) if self._calls.running else nullcontext():
            if site.activation is None or site.weight is None:
                return F.conv2d(input, weight, *args, **kwargs)
            return binarized_conv2d(site.activation, site.weight, input, weight, *args, **kwargs)

    def _run_own(self, *args: Any, **kwargs: Any) -> Any:
        own = self._own or MethodType(type(self.module).forward, self.module)
        return self.run(own, *args, **kwargs)

    def _convolve_layer(self, input: Tensor) -> Tensor:  # noqa: A002
        layer = self.module
        if type(layer) is not self._kind and not is_plain_conv2d(layer):  # it has been given another class
            y: Tensor = self._run_own(input)
            return y
        assert isinstance(layer, nn.Conv2d)
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
        if layer.padding_mode == "zeros":
            return self.convolve(input, layer.weight, layer.bias, *settings)
        site = self._calls.next_site(self)
        if site.activation is None or site.weight is None:
            return nn.Conv2d.forward(layer, input)
        with self._calls.inside(None) if self._calls.running else nullcontext():
            # Binarized before padding, because the graphs pad the binarized input.
            x = F.pad(site.activation(input), torch_private.padding_amounts(layer), layer.padding_mode)
            return conv2d(x, site.weight(layer.weight), layer.bias, layer.stride, 0, *settings[2:])


class _Convolutions(TorchFunctionMode):
    """Redirects calls of `F.conv2d` in the code of `caller` to its call sites."""

    def __init__(self, caller: ConvCaller, calls: Calls) -> None:
        super().__init__()
        self._caller, self._calls = caller, calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and self._calls.running is self._caller:
            return self._caller.convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def method_of_model(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `method` of a model's class, which calls `F.conv2d`, so that direct calls use binarizers."""

    @functools.wraps(method)
    def run(model: Any, *args: Any, **kwargs: Any) -> Any:
        code: OwnCode = model.own_code
        root = code.callers.get("")
        if root is None or code.is_traced or code.calls.running is root:
            return method(model, *args, **kwargs)
        return root.run(method, model, *args, **kwargs)

    return run


def calls_conv2d(code: CodeType) -> bool:
    """Whether `code`, or a function defined in it, mentions the name conv2d."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return "conv2d" in code.co_names or any(map(calls_conv2d, inner))


def is_plain_conv2d(module: nn.Module) -> bool:
    """Whether `module` is an `nn.Conv2d`, or of a subclass that does not override its forward."""
    kind: Any = type(module)
    return (
        isinstance(module, nn.Conv2d)
        and kind.forward is nn.Conv2d.forward
        and torch_private.conv_forward(kind) is torch_private.conv_forward(nn.Conv2d)
    )
