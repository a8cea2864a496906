"""A model's own code, run with binarized convolutions: what graphs stand for, where none can."""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import CodeType, MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fxbin.binarizers import Binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.errors import TransformError
from fxbin.graph.call_site import submodule_at


@dataclass(frozen=True)
class OwnSite:
    """One call site of a module that has some, as its own code comes to it."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    activation: Binarizer | None
    weight: Binarizer | None
    """None, both, if it stays in full precision."""

    places: tuple[str, str] = ("", "")
    """Qualified names of both."""


class Calls:
    """Which modules with call sites run at the moment, and how often each has been called in this forward.

    A module that is called outside of a forward of the model has one call site or is refused; inside of it,
    its calls are counted.
    """

    def __init__(self) -> None:
        self._counts: list[Counter[Owner]] = []
        self._running: list[Owner | None] = []

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around one forward.

        Raises:
            TransformError: modules were called more or less often than when the model was traced.
        """
        counts: Counter[Owner] = Counter()
        self._counts.append(counts)
        try:
            yield
        finally:
            self._counts.pop()
        for owner, count in counts.items():
            if count not in owner.counts:
                raise TransformError(_message(owner, f"it was called {count} times"))

    @property
    def is_counting(self) -> bool:
        """Whether a forward is running in which calls are counted."""
        return bool(self._counts)

    @property
    def running(self) -> "Owner | None":
        """The innermost module with call sites whose code calls `F.conv2d` by itself, if one runs now."""
        return self._running[-1] if self._running else None

    @contextmanager
    def inside(self, owner: "Owner | None") -> Iterator[None]:
        """While the code of `owner` runs; None while nothing is to be looked at."""
        self._running.append(owner)
        try:
            yield
        finally:
            self._running.pop()

    def next_site(self, owner: "Owner") -> OwnSite:
        """The call site of the call that `owner` makes now.

        Raises:
            TransformError: it cannot be known.
        """
        if len(owner.sites) == 1:
            return owner.sites[0]
        if not self._counts:
            raise TransformError(_message(owner, "it was called outside of the model's forward"))
        position = self._counts[-1][owner]
        if position == len(owner.sites):
            raise TransformError(_message(owner, "it was called once more"))
        self._counts[-1][owner] += 1
        return owner.sites[position]


def _message(owner: "Owner", what: str) -> str:
    names = ", ".join(repr(site.name) for site in owner.sites)
    return (
        f"{owner.path or 'the model'}: {what}, and it has a call site, with levels of its own, for each of "
        f"{len(owner.sites)} calls in the forward that was transformed ({names}): which are meant cannot be "
        "known. Call the model, or give each call a module of its own before the transform"
    )


class OwnCode:
    """The modules of a model that have call sites."""

    def __init__(self) -> None:
        self.owners: dict[str, Owner] = {}
        """By qualified name; that of the model itself is empty."""
        self.is_traced = False
        """Whether the model is being traced, which is to see none of this."""
        self.calls = Calls()

    def add(self, model: Any, path: str, sites: Iterable[OwnSite], counts: Collection[int]) -> None:
        """Let whoever calls the module at `path` come to its call sites, in the order in which they run.

        `counts` says how many of them the example calls run.
        """
        module, part = model.get_submodule(path), model.traced_parts.get(path)
        own = vars(module).get("forward") if part is None else part.own
        owner = self.owners[path] = Owner(path, module, own, sites, counts, self.calls)
        # The model itself, and parts of it, have graphs that stand there already.
        if path and part is None:
            owner.put_on()

    @property
    def stand_ins(self) -> list["Owner"]:
        """Those that have taken the place of a forward."""
        return [owner for owner in self.owners.values() if owner.stands_in]

    def around(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """`run`, code of the model or of a part of it, as one forward, in which calls are counted."""
        root = self.owners.get("")
        if root is None and all(len(owner.sites) == 1 for owner in self.owners.values()):
            return run  # nothing to count

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.calls.counted():
                return run(*args, **kwargs) if root is None else root.run(run, *args, **kwargs)

        return counted

    def check_places(self, model: nn.Module, function: str) -> None:
        """Raise TransformError if a binarized layer is not where graphs have it; names `function`."""
        self.check(model)
        for path, owner in self.owners.items():
            now = submodule_at(model, path)
            if owner.is_binarized and now is not owner.module:
                raise TransformError(
                    f"fxbin.{function}: {path} is binarized, and {type(now).__name__} was put "
                    "around it after the transform. The model runs like that, but no graph knows of it: put "
                    "it there before, and transform the result"
                )

    def check(self, model: nn.Module) -> None:
        """Raise TransformError if a binarized layer is no longer a part of `model`."""
        held = None
        for path, owner in self.owners.items():
            if owner.stands_in and "forward" not in vars(owner.module):
                owner.put_on()  # somebody has put another one there, and has taken it off again
            if submodule_at(model, path) is owner.module:
                owner.check_binarizers(model)
                continue
            if not owner.is_binarized:
                continue
            held = set(model.modules()) if held is None else held
            if owner.module not in held:
                now = submodule_at(model, path)
                what = "removed" if now is None else f"replaced by {type(now).__name__}"
                raise TransformError(
                    f"{path}: it is binarized, and was {what} after the transform. Replace it before, and "
                    f"transform the result; or keep it in full precision, with {owner.sites[0].name!r} in "
                    "ignored_scopes, and replace it whenever you like"
                )


class Owner:
    """Stands in for the `forward` of a module with call sites, for whoever calls it in place of a graph.

    `own` is the one that the module itself has, if it is not that of its class.
    """

    def __init__(
        self,
        path: str,
        module: nn.Module,
        own: Any,
        sites: Iterable[OwnSite],
        counts: Collection[int],
        calls: Calls,
    ) -> None:
        self.path, self.module, self.sites, self.counts = path, module, tuple(sites), frozenset(counts)
        self.stands_in = False
        self._calls = calls
        self._own = own
        is_plain = own is None and is_plain_conv2d(module)
        self._run = Owner._convolve_layer if is_plain else Owner._run_own

    @property
    def forward(self) -> Callable[..., Any]:
        """The forward of the module, with binarizers."""
        return MethodType(self._run, self)

    def check_binarizers(self, model: nn.Module) -> None:
        """Raise TransformError if a binarizer is no longer where it was."""
        for site in self.sites:
            for binarizer, place in zip((site.activation, site.weight), site.places, strict=True):
                if binarizer is not None and submodule_at(model, place) is not binarizer:
                    raise TransformError(
                        f"{place}: the binarizer was removed or replaced after the transform. To keep the "
                        "layer in full precision, switch it off: model.binarization.enable("
                        f"activations=False, weights=False, sites=[{site.name!r}]), or put it into "
                        "ignored_scopes"
                    )

    @property
    def is_binarized(self) -> bool:
        """Whether any of its call sites is."""
        return any(site.activation is not None for site in self.sites)

    def take_off(self) -> None:
        """Let the module's code run as it is."""
        self.stands_in = False
        vars(self.module).pop("forward", None)
        if self._own is not None:
            vars(self.module)["forward"] = self._own

    def put_on(self) -> None:
        """Be called in place of it."""
        self.stands_in = True
        vars(self.module)["forward"] = self.forward

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, code of the module that calls `F.conv2d` by itself."""
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
        """``F.conv2d(input, weight, ...)`` as its call site has it."""
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
        assert isinstance(layer, nn.Conv2d)
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
        if layer.padding_mode == "zeros":
            return self.convolve(input, layer.weight, layer.bias, *settings)
        site = self._calls.next_site(self)
        if site.activation is None or site.weight is None:
            return nn.Conv2d.forward(layer, input)
        with self._calls.inside(None) if self._calls.running else nullcontext():
            # Binarized first: what is padded by itself must stay what it is.
            x = F.pad(site.activation(input), layer._reversed_padding_repeated_twice, layer.padding_mode)
            return conv2d(x, site.weight(layer.weight), layer.bias, layer.stride, 0, *settings[2:])


class _Convolutions(TorchFunctionMode):
    """Hands each call of `F.conv2d` to the module whose code makes it."""

    def __init__(self, owner: Owner, calls: Calls) -> None:
        super().__init__()
        self._owner, self._calls = owner, calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and self._calls.running is self._owner:
            return self._owner.convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def method_of_model(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method` of a model itself, which may call `F.conv2d` in it, for whoever calls it."""

    @functools.wraps(method)
    def run(model: Any, *args: Any, **kwargs: Any) -> Any:
        code: OwnCode = model.own_code
        root = code.owners.get("")
        if root is None or code.is_traced or code.calls.running is root:
            return method(model, *args, **kwargs)
        return root.run(method, model, *args, **kwargs)

    return run


def calls_conv2d(code: CodeType) -> bool:
    """Whether `code`, or a function in it, mentions conv2d."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return "conv2d" in code.co_names or any(map(calls_conv2d, inner))


def is_plain_conv2d(module: nn.Module) -> bool:
    """Whether `module` does what `nn.Conv2d` does."""
    kind: Any = type(module)
    return (
        isinstance(module, nn.Conv2d)
        and kind.forward is nn.Conv2d.forward
        and kind._conv_forward is nn.Conv2d._conv_forward
    )
