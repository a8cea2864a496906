"""Runs a deployed model and returns the outputs of its 1-bit convolutions as well."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from fxbin.deployment import DeployedModule, PackedConv2d
from fxbin.deployment.origin import origin, with_shift
from fxbin.engine.operators import OPERATORS
from fxbin.errors import VerificationError
from fxbin.lowering.inputs import BoundInputs
from fxbin.verification.reference import outputs_of
from fxbin.verification.samples import to_array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run_deployed(
    deployed: DeployedModule, samples: Sequence[BoundInputs], *, layers: bool
) -> "tuple[list[list[NDArray[Any]]], dict[str, str]]":
    """Run `deployed` on the CPU; return for each sample its outputs, followed by those of the layers.

    The layers are the convolutions in 1 bit. The dict has the names of their call sites, in execution order,
    each with the node of the model's graph that returns the same: the last node that has become part of the
    convolution. Their values come from a second run, because a layer with a hook returns floats even where
    another layer only needs bits.
    """
    deployed = deployed.cpu()
    found, seen = [], dict[str, Tensor]()
    nodes = {node.target: node for node in deployed.graph.find_nodes(op="call_module")}
    sites = {site.name: site.place for site in deployed.deployed_sites}
    for sample in samples:
        on_cpu = BoundInputs(sample.with_tensors([x.cpu() for x in sample.tensors]), sample.names)
        outputs = outputs_of(deployed, on_cpu)
        if layers:
            with _outputs_kept(deployed.packed_convolutions, seen):
                outputs_of(deployed, on_cpu)
        of_layers = (with_shift(nodes[sites[name]], y) for name, y in seen.items())
        found.append([to_array(y) for y in (*outputs, *of_layers)])
    return found, {name: origin(nodes[sites[name]]) for name in seen}


def run_program(path: Path, samples: Sequence[BoundInputs]) -> "tuple[list[list[NDArray[Any]]], bool]":
    """Run the program that `fxbin.export_program` wrote; return its outputs for each sample.

    Also return whether it calls the engine. Raises VerificationError if PyTorch cannot read the file.
    """
    try:
        program = torch.export.load(path)
    except (RuntimeError, ValueError, OSError, KeyError, BadZipFile) as error:
        problem = str(error).strip().partition("\n")[0]
        raise VerificationError(f"{path}: PyTorch cannot read this program: {problem}") from error
    module = program.module()
    found = []
    for sample in samples:
        on_cpu = BoundInputs(sample.with_tensors([x.cpu() for x in sample.tensors]), sample.names)
        found.append([to_array(y) for y in outputs_of(module, on_cpu)])
    nodes = program.graph_module.graph.find_nodes
    called = any(nodes(op="call_function", target=operator.default) for operator in OPERATORS.values())
    return found, called


@contextmanager
def _outputs_kept(places: Mapping[str, PackedConv2d], seen: dict[str, Tensor]) -> Iterator[None]:
    """Store what each of `places` returns in `seen`, under its name."""

    def keeper(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _args: Any, output: Tensor | tuple[Tensor, Tensor]) -> None:
            y = output[0] if isinstance(output, tuple) else output
            seen[name] = y.clone()  # what follows may change it in place

        return keep

    hooks = [place.register_forward_hook(keeper(name)) for name, place in places.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
