"""Parameter groups for an optimizer, with the learning rates and weight decay of the config."""

from typing import Any

from fxbin.binarized.module import BinarizedModule


def parameter_groups(model: BinarizedModule) -> list[dict[str, Any]]:
    """Parameter groups of a transformed model, for any optimizer of torch: ``Adam(parameter_groups(model))``.

    Scales and thresholds get the learning rate `base_lr` times `binarizer_lr_multiplier`, all other
    parameters `base_lr`; all get the weight decay `base_wd`. With a multiplier of 1 there is one group, in
    the order of ``model.parameters()``.

    A factor on gradients (`compression_lr_multiplier`) has no such effect with Adam, which divides by their
    size.
    """
    params = model.binarization.config.binarization.params
    everywhere = {"lr": params.base_lr, "weight_decay": params.base_wd}
    if params.binarizer_lr_multiplier == 1:
        return [{"params": list(model.parameters()), **everywhere}]
    learned = model.binarization.parameters()
    ids = {id(parameter) for parameter in learned}
    others = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    faster = {**everywhere, "lr": params.base_lr * params.binarizer_lr_multiplier}
    return [{"params": others, **everywhere}, {"params": learned, **faster}]
