"""Binarize the convolutions of a PyTorch model, train it in stages, export it to one bit."""

from fxbin import openvino
from fxbin.binarized.state import Stage
from fxbin.compiler.node_names import node_names
from fxbin.compiler.transform import transform
from fxbin.config import Config, load_config
from fxbin.diagnostics import Diagnostics
from fxbin.diagnostics.nonfinite import first_nonfinite
from fxbin.drawing.dot import to_dot
from fxbin.drawing.networkx_graph import to_networkx
from fxbin.errors import FxbinError
from fxbin.export import export_onnx
from fxbin.nncf import load_nncf_checkpoint, save_nncf_checkpoint
from fxbin.report.summary import Summary, summary
from fxbin.runtimes import compare_runtimes
from fxbin.staged.batch_norm import reestimate_batch_norm
from fxbin.staged.parameter_groups import parameter_groups
from fxbin.staged.schedule import StagedSchedule

__all__ = [
    "Config",
    "Diagnostics",
    "FxbinError",
    "Stage",
    "StagedSchedule",
    "Summary",
    "compare_runtimes",
    "export_onnx",
    "first_nonfinite",
    "load_config",
    "load_nncf_checkpoint",
    "node_names",
    "openvino",
    "parameter_groups",
    "reestimate_batch_norm",
    "save_nncf_checkpoint",
    "summary",
    "to_dot",
    "to_networkx",
    "transform",
]
