"""Binarize the convolutions of a PyTorch model, train it in stages, export it to one bit.

>>> import torch, fxbin
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
>>> config = {"input_info": {"sample_size": [1, 3, 32, 32]}, "compression": {"algorithm": "binarization"}}
>>> binarized = fxbin.transform(model, config)  # a copy whose binarizers are still off
>>> schedule = fxbin.StagedSchedule(binarized, torch.optim.Adam(binarized.parameters()))
>>> for epoch in range(2):
...     schedule.start_epoch(epoch)  # switches them on when their epoch has come
...     loss = binarized(torch.rand(4, 3, 32, 32)).square().mean()
...     schedule.optimizer.zero_grad(); loss.backward(); schedule.optimizer.step(); schedule.step(1.0)
>>> deployed = fxbin.deploy(binarized)  # 1 bit in PyTorch; export_onnx and export_program write files
>>> binarized.binarization
<BinarizationState: stage 'activations and weights', epoch 1, finished; of 2 call sites, 2 have ... weights>

Begin with `transform`, `StagedSchedule`, `summary`, `deploy`, `export_onnx`. README.md names the guides.

The public names are here, except the callbacks in `fxbin.lightning`. Each is loaded when it is first used:
``import fxbin`` alone loads neither PyTorch nor any other package.
"""

import importlib
import itertools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    """The version of the installed package."""

    from fxbin import binarizers as binarizers
    from fxbin import config as config
    from fxbin import errors as errors
    from fxbin import openvino as openvino
    from fxbin.binarized.module import BinarizedModule as BinarizedModule
    from fxbin.binarized.state import BinarizationState as BinarizationState
    from fxbin.binarized.state import Stage as Stage
    from fxbin.binarizers import ActivationBinarizer as ActivationBinarizer
    from fxbin.binarizers import ActivationLevels as ActivationLevels
    from fxbin.binarizers import Binarizer as Binarizer
    from fxbin.binarizers import ComposedWeightBinarizer as ComposedWeightBinarizer
    from fxbin.binarizers import DoReFaWeightBinarizer as DoReFaWeightBinarizer
    from fxbin.binarizers import Estimator as Estimator
    from fxbin.binarizers import LatentTransform as LatentTransform
    from fxbin.binarizers import Levels as Levels
    from fxbin.binarizers import WeightBinarizer as WeightBinarizer
    from fxbin.binarizers import WeightLevels as WeightLevels
    from fxbin.binarizers import XNORWeightBinarizer as XNORWeightBinarizer
    from fxbin.binarizers import ZeroScale as ZeroScale
    from fxbin.binarizers import register_activation_binarizer as register_activation_binarizer
    from fxbin.binarizers import register_activation_levels as register_activation_levels
    from fxbin.binarizers import register_estimator as register_estimator
    from fxbin.binarizers import register_latent_transform as register_latent_transform
    from fxbin.binarizers import register_weight_binarizer as register_weight_binarizer
    from fxbin.binarizers import register_weight_levels as register_weight_levels
    from fxbin.compiler.node_names import node_names as node_names
    from fxbin.compiler.transform import transform as transform
    from fxbin.config import Config as Config
    from fxbin.config import load_config as load_config
    from fxbin.deployment import DeployedModule as DeployedModule
    from fxbin.deployment import deploy as deploy
    from fxbin.diagnostics import Diagnostics as Diagnostics
    from fxbin.diagnostics import DiagnosticsReport as DiagnosticsReport
    from fxbin.diagnostics.nonfinite import first_nonfinite as first_nonfinite
    from fxbin.drawing.dot import to_dot as to_dot
    from fxbin.drawing.networkx_graph import to_networkx as to_networkx
    from fxbin.engine.custom_ops import register_custom_ops as register_custom_ops
    from fxbin.errors import CheckpointError as CheckpointError
    from fxbin.errors import ConfigError as ConfigError
    from fxbin.errors import DataError as DataError
    from fxbin.errors import EngineError as EngineError
    from fxbin.errors import ExportError as ExportError
    from fxbin.errors import FxbinError as FxbinError
    from fxbin.errors import ScopeError as ScopeError
    from fxbin.errors import TorchVersionError as TorchVersionError
    from fxbin.errors import TraceError as TraceError
    from fxbin.errors import TransformError as TransformError
    from fxbin.errors import VerificationError as VerificationError
    from fxbin.export import ExportMode as ExportMode
    from fxbin.export import ExportReport as ExportReport
    from fxbin.export import export_onnx as export_onnx
    from fxbin.export import export_program as export_program
    from fxbin.nncf import NNCFCheckpointReport as NNCFCheckpointReport
    from fxbin.nncf import load_nncf_checkpoint as load_nncf_checkpoint
    from fxbin.nncf import save_nncf_checkpoint as save_nncf_checkpoint
    from fxbin.passes import PassRun as PassRun
    from fxbin.passes import watch_passes as watch_passes
    from fxbin.report.page.write import write_report as write_report
    from fxbin.report.summarize import summary as summary
    from fxbin.report.summary import Summary as Summary
    from fxbin.runtimes import BenchmarkReport as BenchmarkReport
    from fxbin.runtimes import RuntimeReport as RuntimeReport
    from fxbin.runtimes import benchmark as benchmark
    from fxbin.runtimes import compare_runtimes as compare_runtimes
    from fxbin.staged.average import StagedAverage as StagedAverage
    from fxbin.staged.batch_norm import reestimate_batch_norm as reestimate_batch_norm
    from fxbin.staged.parameter_groups import parameter_groups as parameter_groups
    from fxbin.staged.schedule import StagedSchedule as StagedSchedule

_HOMES = {
    "fxbin.binarized.module": ("BinarizedModule",),
    "fxbin.binarized.state": ("BinarizationState", "Stage"),
    "fxbin.binarizers": (
        "ActivationBinarizer",
        "ActivationLevels",
        "Binarizer",
        "ComposedWeightBinarizer",
        "DoReFaWeightBinarizer",
        "Estimator",
        "LatentTransform",
        "Levels",
        "WeightBinarizer",
        "WeightLevels",
        "XNORWeightBinarizer",
        "ZeroScale",
        "register_activation_binarizer",
        "register_activation_levels",
        "register_estimator",
        "register_latent_transform",
        "register_weight_binarizer",
        "register_weight_levels",
    ),
    "fxbin.compiler.node_names": ("node_names",),
    "fxbin.compiler.transform": ("transform",),
    "fxbin.config": ("Config", "load_config"),
    "fxbin.deployment": ("DeployedModule", "deploy"),
    "fxbin.diagnostics": ("Diagnostics", "DiagnosticsReport"),
    "fxbin.diagnostics.nonfinite": ("first_nonfinite",),
    "fxbin.drawing.dot": ("to_dot",),
    "fxbin.drawing.networkx_graph": ("to_networkx",),
    "fxbin.engine.custom_ops": ("register_custom_ops",),
    "fxbin.errors": (
        "CheckpointError",
        "ConfigError",
        "DataError",
        "EngineError",
        "ExportError",
        "FxbinError",
        "ScopeError",
        "TorchVersionError",
        "TraceError",
        "TransformError",
        "VerificationError",
    ),
    "fxbin.export": ("ExportMode", "ExportReport", "export_onnx", "export_program"),
    "fxbin.nncf": ("NNCFCheckpointReport", "load_nncf_checkpoint", "save_nncf_checkpoint"),
    "fxbin.passes": ("PassRun", "watch_passes"),
    "fxbin.report.page.write": ("write_report",),
    "fxbin.report.summarize": ("summary",),
    "fxbin.report.summary": ("Summary",),
    "fxbin.runtimes": ("BenchmarkReport", "RuntimeReport", "benchmark", "compare_runtimes"),
    "fxbin.staged.average": ("StagedAverage",),
    "fxbin.staged.batch_norm": ("reestimate_batch_norm",),
    "fxbin.staged.parameter_groups": ("parameter_groups",),
    "fxbin.staged.schedule": ("StagedSchedule",),
}
"""Where each name is defined."""

_ROOMS = ("binarizers", "config", "errors", "openvino")
"""Subpackages that ``import fxbin`` alone makes available."""

__all__ = sorted((*_ROOMS, *itertools.chain(*_HOMES.values())))  # noqa: PLE0605 (it is a list)

# Type checkers read the imports above. With a `__getattr__`, they would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version  # takes longer than the rest of this file

            globals()[name] = found = version("fxbin")
            return found
        if name in _ROOMS:
            return importlib.import_module(f"fxbin.{name}")
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            # With its module, so that Python says which name was meant.
            message = f"module 'fxbin' has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[__name__])
        found = globals()[name] = getattr(importlib.import_module(home), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
