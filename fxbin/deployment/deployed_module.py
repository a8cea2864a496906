"""The module that `fxbin.deploy` returns."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from torch import fx
from torch.fx.graph_module import reduce_graph_module
from typing_extensions import override

from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.errors import EngineError
from fxbin.original.reach import FORWARD_HOOKS


@dataclass(frozen=True)
class DeployedSite:
    """The result of deploying one call site with a binarizer."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    place: str
    """Path of the `PackedConv2d` that computes it, as for `get_submodule`; empty if it is in float."""

    reason: str
    """Why it is not in 1 bit; empty if it is."""


@dataclass(frozen=True)
class Int8Site:
    """The result of deploying one layer without binarizers, if `deploy` got samples for calibration."""

    name: str
    """Path of the layer, as for `get_submodule`; for a function, the name of its node in the graph."""

    reason: str
    """Why it is in float; empty if it is in int8."""


Sites = tuple[tuple[DeployedSite, ...], tuple[Int8Site, ...]]
"""The values of `deployed_sites` and `int8_sites`."""


class DeployedModule(fx.GraphModule):
    """A model in eval mode whose binarized convolutions are `PackedConv2d`.

    It is not an instance of the original's class: it runs its `graph`, for the kind of arguments that it was
    deployed with. It stays in eval mode when `train` is called, so that a model around it can be trained.
    """

    deployed_sites: tuple[DeployedSite, ...] = ()
    """The call sites that had binarizers, in execution order."""

    int8_sites: tuple[Int8Site, ...] = ()
    """The other layers with weights, in execution order; empty without samples for calibration."""

    @classmethod
    def of(
        cls, module: fx.GraphModule, sites: Sites, name: str, hooks: Mapping[str, Any]
    ) -> "DeployedModule":
        """Create a module that computes what `module` does, with forward `hooks` and a class named `name`."""
        deployed = cls(module, module.graph, class_name=name)
        deployed.deployed_sites, deployed.int8_sites = sites
        vars(deployed).update({key: copy.copy(hooks[key]) for key in FORWARD_HOOKS})
        return deployed.eval()

    @override
    def train(self, mode: bool = True) -> Self:
        """Put every module into eval mode, whatever `mode` is, because BatchNorm would change the result."""
        del mode
        return super().train(False)

    # GraphModule's own methods for copying lose the class and whatever is not in the graph.

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

    def __prepare_scriptable__(self) -> NoReturn:
        raise EngineError(
            "torch.jit.script: TorchScript cannot compile the code of a deployed model; write it with "
            "fxbin.export_program, or use torch.export or torch.jit.trace"
        )

    @property
    def _sites(self) -> Sites:
        return self.deployed_sites, self.int8_sites

    @property
    def held_bytes(self) -> int:
        """Number of bytes of weights in memory: parameters, buffers, and what runs so far have made of them.

        This is the arrangement of weights that a kernel reads, which it keeps for the next run.
        """
        tensors = {id(each): each.nbytes for each in (*self.parameters(), *self.buffers())}
        forms = (getattr(module, "form_bytes", 0) for module in self.modules())
        return sum(tensors.values()) + sum(forms)

    @property
    def packed_convolutions(self) -> dict[str, PackedConv2d]:
        """The convolutions in 1 bit, by the names of their call sites."""
        found = {}
        for site in self.deployed_sites:
            if site.place:
                module = self.get_submodule(site.place)
                assert isinstance(module, PackedConv2d)
                found[site.name] = module
        return found


def _restored(attributes: dict[str, Any], imports: str, sites: Sites, name: str) -> DeployedModule:
    """Return the module that was pickled; its graph is rebuilt from its code."""
    module = reduce_graph_module(attributes, imports)
    assert isinstance(module, fx.GraphModule)
    return DeployedModule.of(module, sites, name, attributes)
