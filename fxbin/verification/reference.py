"""Reference outputs of PyTorch, to compare a runtime with."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxbin.binarizers import ActivationBinarizer
from fxbin.export.small_scales import raise_scales
from fxbin.graph.call_site import CallSite, binarized_call_sites
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.levels import activation_levels, weight_levels
from fxbin.verification.samples import tensors_of

SEED = 0
"""Seed of the random numbers here."""


@dataclass(frozen=True)
class LayerCase:
    """One convolution with its binarizers, and its outputs for two inputs."""

    name: str
    """Hierarchical name of the call site."""

    inputs: tuple[Tensor, Tensor]
    """Its input in a forward of the model, and one with `special_values`; both ``(n, c, h, w)``."""

    outputs: tuple[Tensor, Tensor]
    """PyTorch's output for each of the two inputs."""

    behind: tuple[str, ...]
    """OpenVINO's types of the operators that a file has behind the convolution, as parts of it."""


def copied(sample: BoundInputs) -> tuple[Any, ...]:
    """The positional arguments of a sample, its tensors cloned, as a model may change them in place."""
    return sample.with_tensors([x.clone() for x in sample.tensors])


@torch.no_grad()
def outputs_of(model: nn.Module, sample: BoundInputs) -> list[Tensor]:
    """The tensors that `model` returns for `sample`, in the order of the outputs of an exported file."""
    return tensors_of(model(*copied(sample)))


@torch.no_grad()
def layer_cases(module: fx.GraphModule, sample: BoundInputs, names: Collection[str]) -> list[LayerCase]:
    """One case for each of the call sites `names`, in execution order, from one forward of `module`."""
    recorder = _LayerRecorder(module, names)
    recorder.run(*copied(sample))
    return recorder.cases


class _LayerRecorder(fx.Interpreter):
    """Interprets a graph and makes a `LayerCase` of each of the call sites `names`."""

    def __init__(self, module: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        sites = binarized_call_sites(module, module.graph)
        self.sites = {site.node: site for site in sites if site.name in names}
        self.operands: dict[fx.Node, Tensor] = {}
        self.cases: list[LayerCase] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        for site in self.sites.values():
            if n is site.x:
                # A copy, because later nodes may change it in place.
                self.operands[n] = self.env[n.all_input_nodes[0]].clone()
            elif n is site.w:
                self.operands[n] = self.env[n.all_input_nodes[0]]
        if n in self.sites:
            self.cases.append(self._case(self.sites[n]))
        return result

    def _case(self, site: CallSite) -> LayerCase:
        activation = site.activation
        assert activation is not None
        arguments = fx.node.map_arg(site.arguments, lambda node: self.env[node])
        x = self.operands[site.x]
        inputs = (x, special_values(activation, x))
        outputs = [F.conv2d(**(arguments | {"input": activation(x)})) for x in inputs]
        return LayerCase(site.name, inputs, (outputs[0], outputs[1]), self._behind(site, activation))

    def _behind(self, site: CallSite, activation: ActivationBinarizer) -> tuple[str, ...]:
        """See `LayerCase.behind`: what `fxbin.export.lower` puts there, with the bias, in this order."""
        assert site.weight is not None
        _, factors, _ = raise_scales(weight_levels(site.weight, self.operands[site.w]))
        additions = (site.arguments["bias"] is not None) + bool(activation.levels().low.any())
        return ("Multiply",) * (factors is not None) + ("Add",) * additions


def special_values(binarizer: ActivationBinarizer, x: Tensor) -> Tensor:
    """Values at which a comparison may go wrong, spread at random over the shape of `x`.

    They are the thresholds and the numbers next to them, zeros and infinities of both signs, and plus and
    minus the high level.
    """
    levels = activation_levels(binarizer, tuple(x.shape), x.dtype)
    threshold, infinity, zero = levels.threshold, torch.tensor(torch.inf).to(x), torch.zeros(()).to(x)
    choices = [
        threshold,
        torch.nextafter(threshold, infinity),
        torch.nextafter(threshold, -infinity),
        *(zero, -zero, infinity, -infinity),
        *(levels.high, -levels.high),
    ]
    values = torch.stack([choice.expand(x.shape) for choice in choices])
    generator = torch.Generator(x.device).manual_seed(SEED)
    which = torch.randint(len(choices), (1, *x.shape), generator=generator, device=x.device)
    return values.gather(0, which)[0]
