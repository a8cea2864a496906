"""The outputs of modules inside a network, noted while it runs."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fxbin.errors import ConfigError
from fxbin.errors.messages import did_you_mean, listed


def check_modules(key: str, names: Sequence[str], network: nn.Module) -> None:
    """Raise ConfigError, which names the config key `key`, if `network` lacks one of the modules `names`."""
    known = [name for name, _ in network.named_modules() if name]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"It has {listed(known)}."
            raise ConfigError(f"{key}: {name!r} is no module of {type(network).__name__}. {hint}")


class CapturedFeatures:
    """Notes the outputs of the modules `names` of `network` while it is active, by hooks that it removes.

        with CapturedFeatures(network, ["layer1", "layer2"]) as captured:
            network(x)
            features = captured.take()

    A transformed model calls hooks with the values in its graph. What a backward computes again, by gradient
    checkpointing, does not count. `key` is how messages call the names.

    Errors: ConfigError, in a forward, for an output that is not one tensor with channels and positions.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], key: str = "features") -> None:
        check_modules(key, names, network)
        self._network = network
        self._names = tuple(names)
        self._key = key
        self._found: dict[str, list[Tensor]] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [self._network.register_forward_pre_hook(lambda *_: self._found.clear())]
        for name in self._names:
            module = self._network.get_submodule(name)
            self._handles.append(module.register_forward_hook(self._noting(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._found = [], {}

    def take(self) -> list[Tensor]:
        """The outputs of the last forward, module by module in the order of the names, and forget them.

        A module that was called several times has as many outputs. Raises ConfigError if one was not called.
        """
        found = dict(self._found)
        self._found.clear()
        missing = [name for name in self._names if name not in found]
        if missing:
            raise ConfigError(
                f"{self._key}: the forward of {type(self._network).__name__} did not call {listed(missing)}: "
                "name modules that it calls."
            )
        return [output for name in self._names for output in found[name]]

    def _noting(self, name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.dim() < 3:
                got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
                raise ConfigError(
                    f"{self._key}: the output of {name!r} is {got}, expected features (n, c, h, w): name an "
                    "earlier module, such as a block of convolutions."
                )
            self._found.setdefault(name, []).append(output)

        return note
