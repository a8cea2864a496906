"""From a trained model to one for use alone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from fxbin.binarized.unwrap import transformed
from fxbin.deployment.deployed_module import DeployedModule, DeployedSite
from fxbin.deployment.fold_batch_norms import fold_batch_norms
from fxbin.deployment.fuse_epilogues import fuse_epilogues
from fxbin.deployment.hand_on_bits import hand_on_bits
from fxbin.deployment.pack_sites import pack_sites
from fxbin.deployment.pool_before_relu import pool_before_relu
from fxbin.deployment.prepack_rest import prepack_rest
from fxbin.deployment.quantize_rest import Samples, quantize_rest
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
    """Return what `model` computes in eval mode, as a module that computes binarized convolutions in 1 bit.

    Their weights become bits, which the engine works on; no float copy of them is kept. A BatchNorm, a
    sum, and a ReLU or PReLU behind them become part of them, and one hands bits to the next. A BatchNorm
    behind another convolution becomes part of its weight. Everything else runs in PyTorch as before, so
    outputs are those of `model` up to rounding. `model` stays as it is.

    The result is no BinarizedModule and needs no code of the original, except for what was kept whole
    (`leaf_modules`). It is saved as its `state_dict`, or whole by `torch.export`.

    Args:
        model: a transformed model, which DistributedDataParallel, torch.compile, AveragedModel or Lightning
            Fabric may have wrapped. Stages are deployed as they are: what is disabled is in full precision.
        example_inputs: positional inputs, for shapes and types; by default from `input_info` of the config.
            Other sizes of batches and pictures run, too, as far as `model` runs them by the same graph.
        example_kwargs: the same by name.
        calibration: samples of real data, each a tensor or a tuple of positional inputs; 100 to 300 are
            usual. With them, convolutions and linear layers that are not binarized become int8, which changes
            outputs by about 1 %: `int8_sites` of the result tells which, and why not the others.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: the inputs or samples do not fit, or the model has code that no graph can hold.

    Warns:
        UserWarning: a selected call site is not fully binarized at this stage, or its activation scale has
            not seen a training batch.
    """
    binarized = transformed(model, "deploy")
    # Copies that are made in inference mode could not be told from one another when they are written to.
    with torch.inference_mode(False), torch.no_grad():
        module, inputs = prepare(binarized, example_inputs, example_kwargs, with_hooks=False)
        sites = pack(module, inputs)
        pool_before_relu(module)
        hand_on_bits(module)
        int8_sites = () if calibration is None else quantize_rest(module, calibration)
        prepack_rest(module)
    names = [site.name for site in sites]
    warn_if_untrained(binarized.binarization, names, names, "deployed")
    deployed = DeployedModule.of(module, (sites, int8_sites), type(binarized).__name__, vars(module))
    return deployed.requires_grad_(False)


def pack(module: fx.GraphModule, inputs: BoundInputs) -> tuple[DeployedSite, ...]:
    """Let packed convolutions compute what the engine can; return what became of each call site.

    The graph of `module` changes in place. It is the part of `deploy` that exports share.
    """
    record = record_run(module, inputs.values)
    sites = pack_sites(module, record)
    settle_binarizers(module, record)
    fold_batch_norms(module)
    fuse_epilogues(module, inputs.values)
    return sites
