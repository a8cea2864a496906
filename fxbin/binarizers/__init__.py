"""Modules that give weights and activations two levels, and the registries that look them up by name."""

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.activation_levels import ActivationLevels, ZeroScale
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.distributed import IGNORED_BY_DDP, ignored_by_ddp, synchronize
from fxbin.binarizers.estimators import Estimator
from fxbin.binarizers.latent import LatentTransform
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.parts import (
    register_activation_levels,
    register_estimator,
    register_latent_transform,
    register_weight_levels,
)
from fxbin.binarizers.registry import (
    activation_binarizer_names,
    make_activation_binarizer,
    make_weight_binarizer,
    register_activation_binarizer,
    register_weight_binarizer,
    weight_binarizer_names,
)
from fxbin.binarizers.weight import DoReFaWeightBinarizer, WeightBinarizer, XNORWeightBinarizer
from fxbin.binarizers.weight_levels import WeightLevels

__all__ = [
    "IGNORED_BY_DDP",
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
    "activation_binarizer_names",
    "ignored_by_ddp",
    "make_activation_binarizer",
    "make_weight_binarizer",
    "register_activation_binarizer",
    "register_activation_levels",
    "register_estimator",
    "register_latent_transform",
    "register_weight_binarizer",
    "register_weight_levels",
    "synchronize",
    "weight_binarizer_names",
]
