"""Checks that features to learn from are in both networks."""

import copy

import torch

from fxbin.errors import TransformError
from fxbin.train.captured_features import check_modules
from fxbin.train.distillation import DistillationLoss
from fxbin.train.stage_loss import learns_from_previous_stage, loss_of
from fxbin.train.subject import Subject

OF_REWRITTEN = (
    "features are noted by hooks. If compression.rewrites has changed the network, name modules that its "
    "graph calls, such as a BatchNorm or the RPReLU beside a convolution, which `fxbin graph CONFIG --after "
    'insert-activation-binarizers` lists, and those of the teacher in "teacher_features".'
)


@torch.no_grad()
def check_features(subject: Subject) -> None:
    """Raise ConfigError if features to learn are not in both networks.

    The networks are tried on two pictures; without data, only the names are looked up. Without a teacher of
    its own, it is another form of the model itself: the transformed one if that is the previous stage, or if
    the network is rewritten before all training.
    """
    config = subject.settings
    own, is_rewritten = config.distillation, bool(config.binarization.rewrites)
    if not (own.enabled and own.features):
        return
    if not subject.has_data:
        if not is_rewritten:  # which may add modules
            check_modules("distillation.features", own.features, subject.network)
        return
    x, y = subject.data.samples(2)
    student = copy.deepcopy(subject.transformed).eval()
    if subject.teacher is not None:
        teacher = subject.teacher.network
    else:
        is_transformed = learns_from_previous_stage(config) or is_rewritten
        teacher = copy.deepcopy(student if is_transformed else subject.network).eval()
    loss = loss_of(config, teacher)
    assert isinstance(loss, DistillationLoss)
    try:
        with loss.watching(student):
            loss(student(x), x, y)
    except TransformError as error:
        error.add_note(f"distillation.features: {OF_REWRITTEN}")
        raise
