"""The passes of the compiler, one per file: `NameNodes`, then those that `fxbin.compiler.pipeline` lists."""

from fxbin.passes.add_shortcuts import AddShortcuts
from fxbin.passes.base import Pass, PassRun, run_passes, watch_passes
from fxbin.passes.inline_conv2d import InlineConv2d
from fxbin.passes.insert_activation_binarizers import InsertActivationBinarizers
from fxbin.passes.insert_hardtanh import InsertHardtanh
from fxbin.passes.insert_rprelu import InsertRPReLU
from fxbin.passes.insert_weight_binarizers import InsertWeightBinarizers
from fxbin.passes.mark_call_sites import MarkCallSites
from fxbin.passes.name_nodes import NameNodes
from fxbin.passes.norm_before_binarize import NormBeforeBinarize
from fxbin.passes.pool_before_downsampling import PoolBeforeDownsampling
from fxbin.passes.replace_stem import ReplaceStem
from fxbin.passes.rewrite import Rewrite

__all__ = [
    "AddShortcuts",
    "InlineConv2d",
    "InsertActivationBinarizers",
    "InsertHardtanh",
    "InsertRPReLU",
    "InsertWeightBinarizers",
    "MarkCallSites",
    "NameNodes",
    "NormBeforeBinarize",
    "Pass",
    "PassRun",
    "PoolBeforeDownsampling",
    "ReplaceStem",
    "Rewrite",
    "run_passes",
    "watch_passes",
]
