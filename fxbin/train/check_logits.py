"""Checks that a network has an output for each class of the data."""

import copy

import torch
from torch import Tensor

from fxbin.errors import ConfigError
from fxbin.train.subject import Subject


@torch.no_grad()
def check_logits(subject: Subject) -> str | None:
    """Raise ConfigError unless the network gives logits ``(n, classes)`` for two pictures of the data.

    There may be more logits than classes, as of a network that was made for other data: that is returned as a
    note.
    """
    x, _ = subject.data.samples(2)
    classes = len(subject.data.class_names)
    logits = copy.deepcopy(subject.transformed).eval()(x)
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if isinstance(logits, Tensor) and logits.dim() == 2 and logits.shape[1] >= classes:
        if logits.shape[1] == classes:
            return None
        return (
            f"the network has {logits.shape[1]} outputs, and {subject.data.name!r} has {classes} classes: "
            "the other outputs have no pictures to learn from, and no names in predictions"
        )
    raise ConfigError(
        f"model: {subject.config.model!r}: expected logits of shape {(len(x), classes)} for pictures of "
        f"shape {tuple(x.shape)}, one for each class of {subject.data.name!r}, got {found}. Let it take "
        "`num_classes`, which fxbin passes, and return the logits alone."
    )
