"""Checks whether a model can be trained the way FSDP has sharded it."""

import sys
from collections.abc import Iterator

from torch import fx, nn

from fxbin.binarizers import Binarizer
from fxbin.errors import TransformError

WAY_OUT = (
    "Shard the whole model, without them: "
    "fully_shard(model, ignored_params=set(model.binarization.parameters()))."
)


def check_sharding(model: nn.Module) -> None:
    """Raise TransformError if `model`, which may be wrapped, is sharded in a way that cannot train.

    `fully_shard` works on the transformed model as a whole and on layers that its graph calls as modules.
    """
    # A sharded model has imported this module already; for all others the import would only take time.
    if "torch.distributed.fsdp" not in sys.modules:
        return
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    for name, module in model.named_modules():
        if isinstance(module, FullyShardedDataParallel):
            raise TransformError(
                f"model: {name or type(module).__name__} is sharded by FullyShardedDataParallel, which hides "
                "the parameters that fxbin sets in forward. Use torch.distributed.fsdp.fully_shard."
            )
        if isinstance(module, fx.GraphModule):
            for part in _never_called(module):
                if isinstance(module.get_submodule(part), FSDPModule):
                    raise TransformError(
                        f"fully_shard: {part!r} is part of a transformed model, whose graph calls its layers "
                        f"directly, so its parameters would never be gathered. {WAY_OUT}"
                    )
        if isinstance(module, Binarizer):
            for own, parameter in module.named_parameters():
                if isinstance(parameter, DTensor):
                    raise TransformError(
                        f"fully_shard: {name}.{own} is sharded, but forward sets it as a whole. {WAY_OUT}"
                    )


def _never_called(module: fx.GraphModule) -> Iterator[str]:
    """Yield names of submodules that the graph never calls, because it uses the layers inside them."""
    called = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    called |= {*getattr(module, "traced_parts", ())}
    for name, _ in module.named_modules():
        if name and not any(f"{name}.".startswith(f"{path}.") for path in called):
            yield name
