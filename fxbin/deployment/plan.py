"""Predicts before training which call sites the engine will compute in 1 bit."""

import torch

from fxbin.binarized.module import BinarizedModule
from fxbin.deployment.pack_sites import why_not_packed
from fxbin.graph.call_site import binarized_call_sites
from fxbin.lowering.prepare import prepare
from fxbin.lowering.record import record_run


def plan_deployment(model: BinarizedModule) -> dict[str, str | None]:
    """Return why `fxbin.deploy` will keep call sites of `model` in float at the end of training; None if not.

    The keys are the names of all call sites, in execution order. All binarizers count as enabled. Raises
    ExportError if the model does not run on its `input_info`.
    """
    module, inputs = prepare(model, None, None)
    module.binarization.enable(activations=True, weights=True)
    with torch.no_grad():
        record = record_run(module, inputs.values)
        sites = binarized_call_sites(module, module.graph)
        return {site.name: why_not_packed(site, record) for site in sites}
