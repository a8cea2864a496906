"""A network that predicts the classes of pictures: a trained one in PyTorch, or an exported file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxbin.config import Config
from fxbin.engine.custom_ops import register_custom_ops
from fxbin.errors import ConfigError, ExportError
from fxbin.export.file_record import read_record
from fxbin.train.data.included import included_preprocessing
from fxbin.train.data.kept import class_names, kept_in_file, preprocessing
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.evaluated import evaluated_form
from fxbin.train.trained_network import TrainedNetwork


@dataclass(frozen=True)
class Classifier:
    """What `fxbin predict` runs."""

    logits: Callable[[Tensor], Tensor]
    """From inputs ``(n, c, h, w)`` to logits ``(n, classes)`` on the CPU."""

    preprocessing: Preprocessing
    """How pictures become inputs."""

    class_names: tuple[str, ...] | None
    """The names of the classes, by label; None if they have none but their numbers."""

    device: torch.device
    """Where inputs must be."""

    def name_of(self, label: int) -> str:
        """The name of a class."""
        known = self.class_names
        return known[label] if known is not None and label < len(known) else str(label)


def trained_classifier(network: TrainedNetwork, device: torch.device, pictures: int) -> Classifier:
    """`network` on `device`, in the form that is fastest for so many pictures."""
    how = preprocessing(network.kept) or _of_included(network.config) or _of_config(network)
    model = evaluated_form(network.model.to(device), pictures)

    @torch.no_grad()
    def logits(x: Tensor) -> Tensor:
        found: Tensor = model(x)
        return found.cpu()

    return Classifier(logits, how, class_names(network.kept), device)


def exported_classifier(file: Path) -> Classifier:
    """The exported ONNX file `file`, in onnxruntime.

    Raises ExportError if it is missing or does not say how pictures become inputs.
    """
    from fxbin.train.onnx_check import why_unavailable

    if (reason := why_unavailable()) is not None:
        raise ExportError(f"{file}: {reason}")
    if not file.is_file():
        raise ExportError(f"{file} does not exist. `fxbin train` and `fxbin export` write such files.")
    kept: Mapping[str, Any] | None = kept_in_file(file)
    how = preprocessing(kept)
    if how is None:
        raise ExportError(
            f"{file} does not say how pictures become its inputs: export it again from a checkpoint of a run "
            "on pictures, or predict with the checkpoint."
        )
    return Classifier(_in_onnxruntime(file), how, class_names(kept), torch.device("cpu"))


def _in_onnxruntime(file: Path) -> Callable[[Tensor], Tensor]:
    """What computes the first output of `file`, in 1 bit if it has fxbin's operators."""
    import onnxruntime

    from fxbin.train.onnx_check import in_batches

    options = onnxruntime.SessionOptions()
    record = read_record(file)
    if record is not None and record.operators == "fxbin":
        register_custom_ops(options)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    fixed = taken.shape[0] if isinstance(taken.shape[0], int) else None
    return lambda x: in_batches(lambda part: session.run(None, {taken.name: part})[0], x, fixed)


def _of_included(config: Config) -> Preprocessing | None:
    """How pictures of the included data become inputs, if the config names such data itself."""
    return included_preprocessing(config) if "data" in config.model_fields_set else None


def _of_config(network: TrainedNetwork) -> Preprocessing:
    """How the config has pictures become inputs, if that does not depend on the training's data."""
    from fxbin.train.data.normalization import preprocessing_of

    def measure(_: Preprocessing) -> Any:
        raise ConfigError(
            "pictures.mean: mean and deviation of the training pictures are not known, as the file does not "
            'have them. Give "mean" and "std" in `pictures` of the config, or on the command line as in '
            "--set 'pictures={mean: [0.5], std: [0.25]}'."
        )

    return preprocessing_of(network.config, measure)
