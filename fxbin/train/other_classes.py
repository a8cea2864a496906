"""Trained networks of torchvision for other classes than those they were trained with."""

from collections.abc import Callable
from typing import Any

from torch import nn


def with_classes(name: str, build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """`build`, torchvision's builder of the model `name`, for any `num_classes` beside trained ``weights``.

    Layers whose size depends on the number of classes, as a rule the last one, get new random weights, as in
    timm; torchvision itself refuses any number of classes but that of the weights.
    """

    def made(weights: str, num_classes: int | None = None, **options: Any) -> nn.Module:
        if num_classes in (None, trained_classes(name, weights)):
            own = {} if num_classes is None else {"num_classes": num_classes}
            return build(weights=weights, **own, **options)
        trained = build(weights=weights, **options)
        replace_unlike(trained, build(weights=None, num_classes=num_classes, **options))
        return trained

    return made


def trained_classes(name: str, weights: str) -> int:
    """Number of classes of torchvision's `weights`, such as ``"DEFAULT"``, for the model `name`."""
    from torchvision import models

    return len(models.get_model_weights(name)[weights].meta.get("categories", ()))


def replace_unlike(model: nn.Module, other: nn.Module) -> None:
    """Replace each layer of `model` whose parameters have other shapes in `other` by the layer there."""
    for name, layer in list(model.named_modules()):
        shapes, wanted = (
            {key: parameter.shape for key, parameter in module.named_parameters(recurse=False)}
            for module in (layer, other.get_submodule(name))
        )
        if shapes != wanted:
            model.set_submodule(name, other.get_submodule(name))
