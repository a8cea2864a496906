"""Turns a trained model into a deployed one, for inference."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from fxbin.binarized.unwrap import transformed
from fxbin.deployment.deployed_module import DeployedModule, DeployedSite
from fxbin.deployment.fold_batch_norms import fold_batch_norms
from fxbin.deployment.fuse_epilogues import fuse_epilogues
from fxbin.deployment.fuse_rprelu import fuse_rprelu
from fxbin.deployment.hand_on_bits import hand_on_bits
from fxbin.deployment.pack_sites import pack_sites
from fxbin.deployment.pool_before_relu import pool_before_relu
from fxbin.deployment.prepack_rest import prepack_rest
from fxbin.deployment.quantize_rest import Samples, quantize_rest
from fxbin.deployment.restore_layers import restore_layers
from fxbin.deployment.settle_binarizers import settle_binarizers
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.lowering.record import record_run
from fxbin.lowering.untrained import warn_if_untrained


def deploy(
    model: nn.Module,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Samples | None = None,
) -> DeployedModule:
    """Return a module that computes what `model` does in eval mode, with binarized convolutions in 1 bit.

    Their weights become bits, which the engine works on; no float copy of them is kept. A BatchNorm, a sum,
    and a ReLU, ReLU6, Hardtanh or PReLU after them become part of them, and one hands bits to the next. A
    BatchNorm after another convolution becomes part of its weight. Everything else runs in PyTorch as before,
    so outputs are those of `model` up to rounding. `model` does not change.

    The result is not a BinarizedModule and does not need the code of the original, except for what was kept
    whole (`leaf_modules`). It can be saved as its `state_dict`, or whole by `torch.export`.

    Args:
        model: a transformed model, which DistributedDataParallel, torch.compile, AveragedModel or Lightning
            Fabric may have wrapped. It is deployed in its current stage: what is disabled is in full
            precision.
        example_inputs: positional inputs, for shapes and types; by default from `input_info` of the config.
            Batches and images of other sizes also run, as far as `model` runs them by the same graph.
        example_kwargs: keyword inputs, likewise.
        calibration: samples of real data, each a tensor or a tuple of positional inputs; 100 to 300 are
            usual. With them, convolutions and linear layers that are not binarized become int8, which changes
            outputs by about 1 %; `int8_sites` of the result says which, and why not the others.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: the inputs or samples do not fit, or the model has code that no graph can hold.

    Warns:
        UserWarning: a selected call site is not fully binarized at this stage, or its activation scale has
            not seen a training batch.
    """
    binarized = transformed(model, "deploy")
    # Tensors that are created in inference mode have no version, which would show writes to them.
    with torch.inference_mode(False), torch.no_grad():
        module, inputs = prepare(binarized, example_inputs, example_kwargs, with_hooks=False)
        sites = pack(module, inputs)
        pool_before_relu(module)
        hand_on_bits(module)
        int8_sites = () if calibration is None else quantize_rest(module, calibration, inputs)
        prepack_rest(module)
    names = [site.name for site in sites]
    warn_if_untrained(binarized.binarization, names, names, "deployed")
    deployed = DeployedModule.of(module, (sites, int8_sites), type(binarized).__name__, vars(module))
    for packed in deployed.packed_convolutions.values():
        packed.forget_forms()  # of the runs above, whose inputs may fire more or less often than real ones
    return deployed.requires_grad_(False)


def pack(module: fx.GraphModule, inputs: BoundInputs) -> tuple[DeployedSite, ...]:
    """Replace the convolutions that the engine can compute by packed ones; return the result for each site.

    The graph of `module` changes in place. Exports share this part of `deploy`.
    """
    record = record_run(module, inputs.values)
    sites = pack_sites(module, record)
    settle_binarizers(module, record)
    restore_layers(module)
    fold_batch_norms(module)
    fuse_epilogues(module, inputs.values)
    fuse_rprelu(module)
    return sites
