"""What `fxbin.deploy` returns."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import fx
from torch.fx.graph_module import reduce_graph_module
from typing_extensions import override

from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.original.reach import FORWARD_HOOKS


@dataclass(frozen=True)
class DeployedSite:
    """What became of one call site with a binarizer."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    place: str
    """The `PackedConv2d` that computes it, as `get_submodule` takes it; empty where it is in float."""

    reason: str
    """Why it is not in 1 bit; empty where it is."""


class DeployedModule(fx.GraphModule):
    """A model in eval mode whose binarized convolutions are `PackedConv2d`.

    It has nothing of the original's class. What runs is its `graph`, for the kind of arguments that it was
    deployed with. It stays in eval mode when `train` is called, so that a model around it can be trained.
    """

    deployed_sites: tuple[DeployedSite, ...] = ()
    """The call sites that had binarizers, in execution order."""

    @classmethod
    def of(
        cls, module: fx.GraphModule, sites: Sequence[DeployedSite], name: str, hooks: Mapping[str, Any]
    ) -> "DeployedModule":
        """What `module` computes, in a class called `name`; `hooks` has its `FORWARD_HOOKS`, by name."""
        deployed = cls(module, module.graph, class_name=name)
        deployed.deployed_sites = tuple(sites)
        vars(deployed).update({key: copy.copy(hooks[key]) for key in FORWARD_HOOKS})
        return deployed.eval()

    @override
    def train(self, mode: bool = True) -> Self:
        """Put every module into eval mode, whatever `mode` is: BatchNorms would change what is computed."""
        del mode
        return super().train(False)

    # GraphModule's own ways to copy lose the class, and what is not in the graph.

    def __deepcopy__(self, memo: dict[int, Any]) -> "DeployedModule":
        copied = super().__deepcopy__(memo)
        hooks = copy.deepcopy({key: vars(self)[key] for key in FORWARD_HOOKS}, memo)
        copied = DeployedModule.of(copied, self.deployed_sites, type(self).__name__, hooks)
        memo[id(self)] = copied
        return copied

    def __copy__(self) -> "DeployedModule":
        return DeployedModule.of(self, self.deployed_sites, type(self).__name__, vars(self))

    def __reduce__(self) -> tuple[Any, ...]:
        _, (attributes, imports) = super().__reduce__()
        return _restored, (attributes, imports, self.deployed_sites, type(self).__name__)

    @property
    def packed_convolutions(self) -> dict[str, PackedConv2d]:
        """The convolutions in 1 bit, by the name of their call site."""
        found = {}
        for site in self.deployed_sites:
            if site.place:
                module = self.get_submodule(site.place)
                assert isinstance(module, PackedConv2d)
                found[site.name] = module
        return found


def _restored(
    attributes: dict[str, Any], imports: str, sites: Sequence[DeployedSite], name: str
) -> DeployedModule:
    """The module that was pickled. Its graph is made of its code."""
    module = reduce_graph_module(attributes, imports)
    assert isinstance(module, fx.GraphModule)
    return DeployedModule.of(module, sites, name, attributes)
