"""Tells which call sites the engine will compute in 1 bit, before training."""

import torch

from fxbin.binarized.module import BinarizedModule
from fxbin.deployment.pack_sites import why_not_packed
from fxbin.export.plan import prepare
from fxbin.export.record import Record, record_run
from fxbin.export.report import ExportMode, SiteExport
from fxbin.graph.call_site import CallSite, binarized_call_sites


def plan_deployment(model: BinarizedModule) -> tuple[SiteExport, ...]:
    """What `fxbin.deploy` will do with each call site of `model` at the end of training, in execution order.

    All binarizers are enabled by then. Raises ExportError if the model does not run on its `input_info`.
    """
    module, inputs = prepare(model, None, None)
    module.binarization.enable(activations=True, weights=True)
    with torch.no_grad():
        record = record_run(module, inputs.values)
        return tuple(_planned(site, record) for site in binarized_call_sites(module, module.graph))


def _planned(site: CallSite, record: Record) -> SiteExport:
    reason = why_not_packed(site, record)
    mode = ExportMode.FLOAT if reason else ExportMode.ONE_BIT
    return SiteExport(site.name, mode, enabled=True, reason=reason or "")
