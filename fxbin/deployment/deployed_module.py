"""What `fxbin.deploy` returns."""

import copy
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Int8Site:
    """What became of one layer without binarizers, where `deploy` was given samples to calibrate with."""

    name: str
    """The layer, as `get_submodule` takes it; for a function, the name of its node in the graph."""

    reason: str
    """Why it is in float; empty where it is in int8."""


Sites = tuple[tuple[DeployedSite, ...], tuple[Int8Site, ...]]
"""`deployed_sites` and `int8_sites`."""


class DeployedModule(fx.GraphModule):
    """A model in eval mode whose binarized convolutions are `PackedConv2d`.

    It has nothing of the original's class. What runs is its `graph`, for the kind of arguments that it was
    deployed with. It stays in eval mode when `train` is called, so that a model around it can be trained.
    """

    deployed_sites: tuple[DeployedSite, ...] = ()
    """The call sites that had binarizers, in execution order."""

    int8_sites: tuple[Int8Site, ...] = ()
    """The other layers with weights, in execution order; empty if there was nothing to calibrate with."""

    @classmethod
    def of(
        cls, module: fx.GraphModule, sites: Sites, name: str, hooks: Mapping[str, Any]
    ) -> "DeployedModule":
        """What `module` computes, in a class called `name`; `hooks` has its `FORWARD_HOOKS`, by name."""
        deployed = cls(module, module.graph, class_name=name)
        deployed.deployed_sites, deployed.int8_sites = sites
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
        copied = DeployedModule.of(copied, self._sites, type(self).__name__, hooks)
        memo[id(self)] = copied
        return copied

    def __copy__(self) -> "DeployedModule":
        return DeployedModule.of(self, self._sites, type(self).__name__, vars(self))

    def __reduce__(self) -> tuple[Any, ...]:
        _, (attributes, imports) = super().__reduce__()
        return _restored, (attributes, imports, self._sites, type(self).__name__)

    @property
    def _sites(self) -> Sites:
        return self.deployed_sites, self.int8_sites

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


def _restored(attributes: dict[str, Any], imports: str, sites: Sites, name: str) -> DeployedModule:
    """The module that was pickled. Its graph is made of its code."""
    module = reduce_graph_module(attributes, imports)
    assert isinstance(module, fx.GraphModule)
    return DeployedModule.of(module, sites, name, attributes)
