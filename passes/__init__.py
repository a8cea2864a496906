"""The passes of the compiler, one per file: `NameNodes`, then those that `fxbin.compiler.pipeline` lists."""

from fxbin.passes.base import Pass, PassRun, run_passes, watch_passes
from fxbin.passes.inline_conv2d import InlineConv2d
from fxbin.passes.insert_activation_binarizers import InsertActivationBinarizers
from fxbin.passes.insert_weight_binarizers import InsertWeightBinarizers
from fxbin.passes.mark_call_sites import MarkCallSites
from fxbin.passes.name_nodes import NameNodes

__all__ = [
    "InlineConv2d",
    "InsertActivationBinarizers",
    "InsertWeightBinarizers",
    "MarkCallSites",
    "NameNodes",
    "Pass",
    "PassRun",
    "run_passes",
    "watch_passes",
]
