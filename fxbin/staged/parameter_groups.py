"""Parameter groups for an optimizer, with the learning rates and weight decay of the config."""

from typing import Any

from torch import nn

from fxbin.binarized.unwrap import transformed, unwrapped
from fxbin.staged.weight_decay import without_decay


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of a transformed model, for any optimizer of torch: ``Adam(parameter_groups(model))``.

    The model may be in DistributedDataParallel or another wrapper that only calls it.

    Scales and thresholds get the learning rate `base_lr` times `binarizer_lr_multiplier`, all other
    parameters `base_lr`. What `wd_exclude` names gets no weight decay, all other parameters `base_wd`. With a
    multiplier of 1 and without `wd_exclude` there is one group, in the order of ``model.parameters()``.
    Groups with decay come before those without, and in both, scales and thresholds come last.

    A factor on gradients (`compression_lr_multiplier`) has no such effect with Adam, which divides by their
    size.

    Raises ConfigError if an expression in `wd_exclude` matches no parameter, and TransformError if `model`
    does not come from `fxbin.transform`.
    """
    model = transformed(unwrapped(model), "parameter_groups")
    params = model.binarization.config.binarization.params
    has_two_rates = params.binarizer_lr_multiplier != 1
    learned = model.binarization.parameters() if has_two_rates else []
    ids = {id(parameter) for parameter in learned}
    others = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    by_rate = [(others, params.base_lr)]
    if has_two_rates:
        by_rate.append((learned, params.base_lr * params.binarizer_lr_multiplier))
    excluded = {id(parameter) for parameter in without_decay(model, params.wd_exclude)}
    if not excluded:
        return [{"params": members, "lr": lr, "weight_decay": params.base_wd} for members, lr in by_rate]
    groups = [
        {
            "params": [p for p in members if (id(p) in excluded) == without],
            "lr": lr,
            "weight_decay": decay,
        }
        for without, decay in ((False, params.base_wd), (True, 0.0))
        for members, lr in by_rate
    ]
    return [group for group in groups if group["params"]]
