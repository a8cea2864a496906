"""Times a model in PyTorch: in float, and deployed in 1 bit."""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.deployment import DeployedModule, deploy
from fxbin.engine.library import engine
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.untrained import untrained_is_fine
from fxbin.report.benchmark import Timing
from fxbin.report.turns import Turns
from fxbin.verification.reference import copied


@dataclass(frozen=True)
class DeployedForm:
    """One form of a model on the CPU, in channels_last, and the times measured so far."""

    name: str
    module: DeployedModule
    seconds: list[float] = field(default_factory=list)

    def timing(self) -> Timing:
        """Return size, operators and times of this form."""
        packed = len(self.module.packed_convolutions)
        size = self.module.held_bytes
        one_bit = packed if packed and engine() is not None else 0
        name = f"{self.name}, computed in float" if packed > one_bit else self.name
        operators = _operators(self.module)
        return Timing("engine", name, tuple(self.seconds), size, packed, one_bit, operators)


class DeployedForms:
    """Both forms of `model`, to be timed on `sample`."""

    version: str = torch.__version__
    """Version of PyTorch."""

    def __init__(
        self,
        model: BinarizedModule,
        example_inputs: tuple[Any, ...] | None,
        sample: BoundInputs,
        turns: Turns,
    ) -> None:
        tensors = [_channels_last(x.cpu()) for x in sample.tensors]
        self._sample = BoundInputs(sample.with_tensors(tensors), sample.names)
        self._turns = turns
        self._forms = list(_deployed(model, example_inputs))

    def run_round(self) -> None:
        """Let each form take its turn."""
        now = self._turns.now
        with torch.inference_mode(), _threads(self._turns.threads):
            for form in self._forms:
                form.module(*copied(self._sample))
                for _ in range(self._turns.repeat):
                    args = copied(self._sample)  # which the model may change in place
                    start = now()
                    form.module(*args)
                    form.seconds.append(now() - start)

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Times of each form in the rounds so far."""
        return tuple(form.timing() for form in self._forms)


@torch.no_grad()
def share_that_fires(model: BinarizedModule, sample: BoundInputs) -> float | None:
    """Return the share of activations before binarized convolutions that are high for `sample`, in 1 bit.

    None if `model` has none.
    """
    model = copy.deepcopy(model).eval()
    model.binarization.enable(activations=True, weights=True)
    high, all_ = 0, 0

    def count(_module: nn.Module, _args: Any, y: Tensor) -> None:
        nonlocal high, all_
        high, all_ = high + int((y > 0).sum()), all_ + y.numel()

    for site in model.binarization.sites.values():
        site.activation.register_forward_hook(count)
    model(*copied(sample))
    return high / all_ if all_ else None


def _deployed(model: BinarizedModule, example_inputs: tuple[Any, ...] | None) -> Iterator[DeployedForm]:
    model = copy.deepcopy(model)
    for is_binarized in (False, True):
        model.binarization.enable(activations=is_binarized, weights=is_binarized)
        with untrained_is_fine():
            deployed = deploy(model, example_inputs).cpu()
        for values in (*deployed.parameters(), *deployed.buffers()):
            values.data = _channels_last(values.data)
        yield DeployedForm("1 bit" if is_binarized else _dtype_name(model), deployed)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _dtype_name(model: nn.Module) -> str:
    """Return the dtype of the weights, or the default dtype if there are none: ``"float32"``."""
    dtypes = (w.dtype for w in model.parameters() if w.is_floating_point())
    return str(next(dtypes, torch.get_default_dtype())).removeprefix("torch.")


def _operators(module: DeployedModule) -> dict[str, int]:
    """Return the number of nodes by class of the module, or name of the function or method, they call."""
    names = Counter[str]()
    for node in module.graph.nodes:
        if node.op == "call_module":
            names[type(module.get_submodule(str(node.target))).__name__] += 1
        elif node.op == "call_function":
            names[getattr(node.target, "__name__", str(node.target))] += 1
        elif node.op == "call_method":
            names[str(node.target)] += 1
    return dict(names)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
