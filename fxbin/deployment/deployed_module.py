"""What `fxbin.deploy` returns."""

from dataclasses import dataclass

from torch import fx

from fxbin.deployment.packed_conv2d import PackedConv2d


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
    deployed with.
    """

    deployed_sites: tuple[DeployedSite, ...] = ()
    """The call sites that had binarizers, in execution order."""

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
