"""An exponential moving average of a transformed model's parameters, which starts anew with each stage."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed, unwrapped
from fxbin.errors import ConfigError


class StagedAverage(AveragedModel):
    """Exponential moving average of the parameters of a transformed model, never over a stage switch.

        average = StagedAverage(binarized, decay=0.999)
        ...
                optimizer.step()
                average.update_parameters(binarized)
                schedule.step((i + 1) / len(loader))

    The n-th update since the start sets ``average = d * average + (1 - d) * parameter`` with
    d = min(decay, (1 + n) / (10 + n)), so that the average soon forgets the parameters that it started from.
    The first update copies the parameters, as does the first one after any binarizer was switched on or off,
    and each one until the scales are initialized: weights from before a switch, and scales from before their
    initialization, are those of another network. Buffers are copied in each update.

    `average.network` is the averaged model. Its BatchNorm statistics are those of the model in training: call
    ``fxbin.reestimate_batch_norm(average.network, batches)`` before it is evaluated. `state_dict` is that of
    `torch.optim.swa_utils.AveragedModel`, and continues the average.

    Args:
        model: What `fxbin.transform` returned, which may be wrapped, as in `DistributedDataParallel`.
        decay: From 0 to 1, both excluded: 0.999 averages over about the last 1 000 optimizer steps.

    Errors: ConfigError for another `decay`, TransformError if the model was not transformed.
    Limits: parameters are averaged in their own dtype; in bfloat16 a decay near 1 loses small changes.
    Source: `tf.train.ExponentialMovingAverage` of TensorFlow with `num_updates`, for d.
    """

    module: BinarizedModule
    n_averaged: torch.Tensor

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"decay: expected a number between 0 and 1, both excluded, got {decay!r}")
        inner = transformed(unwrapped(model), "StagedAverage")
        super().__init__(inner, multi_avg_fn=self._blend)
        self.decay = decay

    @property
    def network(self) -> BinarizedModule:
        """The averaged model."""
        return self.module

    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards `model`, or start anew from it after a switch of its binarizers."""
        inner = transformed(unwrapped(model), "StagedAverage.update_parameters")
        # The flags of the average are those that the model had in the last update.
        if _flags(inner) != _flags(self.module):
            self.n_averaged.zero_()
        super().update_parameters(inner)  # type: ignore[no-untyped-call,unused-ignore]

    def _blend(self, averages: Any, parameters: Any, _count: Any) -> None:
        """Move a list of averages towards `parameters`, further in the first updates."""
        # Of its own count, which is on the CPU as it is made: the argument would be waited for on a GPU.
        done = int(self.n_averaged)
        get_ema_multi_avg_fn(min(self.decay, (1 + done) / (10 + done)))(averages, parameters, done)


def _flags(model: BinarizedModule) -> list[float]:
    """Which binarizers of `model` are enabled, and how far the initialization of their scales is."""
    return [
        getattr(binarizer, name).item()
        for binarizer in model.binarization.binarizers
        # Of the class: a binarizer may also have one for the progress of training, which grows in each step.
        for name in type(binarizer).flags
    ]
